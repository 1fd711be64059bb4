declare module 'node-gyp-build' {
  /** Loads the addon of the package in `directory`: build/Release, else the prebuild that fits. */
  function nodeGypBuild(directory: string): unknown;
  namespace nodeGypBuild {
    /** Path of the addon that a call would load; throws where there is none. */
    function resolve(directory: string): string;
  }
  export default nodeGypBuild;
}
