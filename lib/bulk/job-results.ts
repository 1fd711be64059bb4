import { createHash } from 'node:crypto';
import path from 'node:path';
import { replaceFile, type FileKind } from '../files/write-file';
import { isOfRecords, type ImageRecord } from './record';

/** Bytes of a name, ending included, that every file system takes. */
const longestName = 200;

/**
 * The name of a job's result: its id, everything but a-z, 0-9, `_`, `.` and `-` percent-encoded, so that two ids never have one
 * name. Capitals are encoded too, as `A` and `a` are one name on some disks. An id too long for a name has its SHA-256 at its end.
 */
export function resultNameOf(id: string): string {
  const encoded = Array.from(Buffer.from(id), (byte) => {
    const character = String.fromCharCode(byte);
    return /[a-z\d_.-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`;
  }).join('');
  if (encoded.length <= longestName) return `${encoded}.json`;
  // The ~ keeps it apart from names that are not shortened: those have none, since it is percent-encoded.
  return `${encoded.slice(0, 100)}~${createHash('sha256').update(id).digest('hex')}.json`;
}

const kind: FileKind = {
  name: 'result of fkinv worker',
  remedy: 'give another --results',
  isOwn: isOfRecords,
  goesToStreams: false,
};

/** Writes the result of the job `id` whole, and gives its path. Whoever does the job again, maybe at the same time, writes the same. */
export async function writeResult(folder: string, id: string, record: ImageRecord): Promise<string> {
  const file = path.join(folder, resultNameOf(id));
  await replaceFile(file, kind, `${JSON.stringify(record)}\n`);
  return file;
}
