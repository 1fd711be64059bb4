import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { cacheFolder } from '../files/cache-folder';
import { replaceFile, type FileKind } from '../files/write-file';
import type { Clip } from '../models/clip';
import { sha256 } from '../models/model-folder';
import { externalData } from '../models/onnx-file';

// Embeddings of a list of words, kept on the disk: what they are of is in the file's name, and what they are in its first line.

const magic = 'fkinv embeddings of words, float32, sha-256 ';

const kind: FileKind = {
  name: 'cache of fkinv',
  remedy: 'remove it',
  isOwn: (beginning) => beginning.startsWith(magic),
  goesToStreams: false,
};

/**
 * The file for the embeddings of `texts` by a CLIP. Its name has the hash of all that they depend on: the text graph with its external
 * data, the ids that the texts come to, and the kind of device.
 */
export async function cacheFile(clip: Clip, device: string, texts: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  const { dir, base } = path.parse(clip.text.file);
  const data = await externalData(clip.text.file, base);
  for (const file of [base, ...data]) hash.update(`${file} ${await sha256(path.join(dir, file))}\n`);
  hash.update(
    `${device.replace(/:.*/, '')} ${clip.embedSize} ${clip.padsTexts} ${JSON.stringify(clip.tokenIds(texts))}`,
  );
  return path.join(cacheFolder(), 'hints', hash.digest('hex'));
}

/** The `length` numbers that are kept in `file`; undefined where there are none, or others. */
export async function readCache(file: string, length: number): Promise<Float32Array | undefined> {
  const bytes = await readFile(file).catch(() => undefined); // what cannot be read is made anew
  if (bytes === undefined) return undefined;
  const body = bytes.subarray(headOf(Buffer.alloc(0)).length);
  const isWhole =
    body.length === length * 4 && bytes.toString('latin1', 0, bytes.length - body.length) === headOf(body);
  return isWhole ? new Float32Array(body.buffer.slice(body.byteOffset, body.byteOffset + body.length)) : undefined;
}

/** Keeps `embeddings` in `file`. Where it cannot be written, as on a disk that is read only, they are made anew the next time. */
export async function writeCache(file: string, embeddings: Float32Array): Promise<void> {
  const body = Buffer.from(embeddings.buffer, embeddings.byteOffset, embeddings.byteLength);
  await mkdir(path.dirname(file), { recursive: true })
    .then(() => replaceFile(file, kind, [headOf(body), body]))
    .catch(() => undefined);
}

function headOf(body: Uint8Array): string {
  return `${magic}${createHash('sha256').update(body).digest('hex')}\n`;
}
