/** How far a `pull` is. */
export interface PullProgress {
  /** The repository, `org/name`. */
  repository: string;
  /** The file that is being fetched, as the repository has it. */
  file: string;
  /** Bytes of that file that are there. */
  fileBytes: number;
  /** Bytes of that file. */
  fileSize: number;
  /** Bytes that are there of all files that the pull has to fetch, what earlier pulls left of them included. */
  bytes: number;
  /** Bytes of all files that the pull has to fetch. */
  size: number;
}
