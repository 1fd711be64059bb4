/** A JPEG without what strict decoders refuse and others pass over, and what that was. */
export interface MendedJpeg {
  bytes: Buffer;
  /** A few words for each fault. */
  faults: string[];
}

const startOfScan = 0xda;
const endOfImage = 0xd9;
/** Start of a frame that is decoded in one pass: baseline and extended sequential. */
const sequentialFrames = [0xc0, 0xc1];

/** RST0 to RST7, which stand among the data of a scan, and the stuffed zero byte behind a 0xFF of the data itself. */
function isOfData(code: number): boolean {
  return code === 0 || (code >= 0xd0 && code <= 0xd7);
}

/**
 * Mends what some phones write: bytes between two segments, which no one reads, and a sequential JPEG's scan header whose last three
 * bytes (Ss, Se, Ah/Al: the range of coefficients, ITU-T T.81 B.2.3) are not the 0, 63, 0 that they must be. The data of the scans
 * are left as they are: whether they are whole only a strict decoder can tell, so the mended JPEG is for one. Undefined where
 * `bytes` are no JPEG, or are none of these two faults.
 */
export function mendJpeg(bytes: Buffer): MendedJpeg | undefined {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined;
  const parts: Buffer[] = [bytes.subarray(0, 2)];
  const faults: string[] = [];
  let isSequential = false;
  for (let at = 2; ;) {
    const marker = nextMarker(bytes, at, false);
    if (marker === undefined) return undefined;
    const code = bytes[marker + 1] ?? 0;
    const strays = bytes.subarray(at, marker).filter((byte) => byte !== 0xff).length; // 0xFF may fill
    if (strays > 0) faults.push(`${strays} stray bytes before a marker`);
    if (code === endOfImage) {
      parts.push(bytes.subarray(marker));
      break;
    }
    const end = marker + 2 + (marker + 4 <= bytes.length ? bytes.readUInt16BE(marker + 2) : 0);
    if (end < marker + 4 || end > bytes.length) return undefined;
    const segment = Buffer.from(bytes.subarray(marker, end));
    if (sequentialFrames.includes(code)) isSequential = true;
    if (
      code === startOfScan &&
      isSequential &&
      segment.length >= 8 &&
      segment.readUIntBE(segment.length - 3, 3) !== 63 << 8
    ) {
      segment.writeUIntBE(63 << 8, segment.length - 3, 3);
      faults.push('a scan header with invalid parameters');
    }
    parts.push(segment);
    at = end;
    if (code !== startOfScan) continue;
    const after = nextMarker(bytes, at, true);
    if (after === undefined) return undefined;
    parts.push(bytes.subarray(at, after));
    at = after;
  }
  return faults.length === 0 ? undefined : { bytes: Buffer.concat(parts), faults };
}

/** The first marker at or behind `at`; among the data of a scan, what belongs to them is none. */
function nextMarker(bytes: Buffer, at: number, isInScan: boolean): number | undefined {
  for (let marker = bytes.indexOf(0xff, at); marker !== -1; marker = bytes.indexOf(0xff, marker + 1)) {
    const code = bytes[marker + 1];
    if (code === undefined) return undefined;
    if (code === 0xff || code === 0 || (isInScan && isOfData(code))) continue; // a 0xFF before another fills
    return marker;
  }
  return undefined;
}
