declare module 'node-gyp-build' {
  /** Loads the addon of the package in `directory`: build/Release, else the prebuild that fits. */
  export default function nodeGypBuild(directory: string): unknown;
}
