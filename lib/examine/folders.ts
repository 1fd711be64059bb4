import path from 'node:path';
import { Examination, type Check } from './checks';
import { Clip } from '../models/clip';
import {
  examineClip,
  examineDllm,
  type ClipFacts,
  type DllmFacts,
  type GraphFacts,
  type Loaded,
  type Place,
} from './graphs';
import { examineFiles, kindOf, noFiles, sizeText, type FilesReport, type ModelKind } from './files';
import { measureFootprint } from './footprint';
import type { Footprint } from './trial';
import { ModelFolder } from '../models/model-folder';
import { parseModelName } from '../models/model-name';
import { embeddedFolder, openModel } from '../store/open';
import { createEngine, type EngineOptions } from '../native/create-engines';
import type { NativeEngine } from '../native/addon';
import type { ParityResult } from './parity';

/** What was found in one model folder. What could not be looked at is null, or empty. */
export interface FolderReport extends FilesReport {
  folder: string;
  kind: ModelKind | null;
  /** Whether every check passed. */
  ok: boolean;
  graphs: GraphFacts[];
  /** What a model of its kind comes to. */
  facts: DllmFacts | ClipFacts | null;
  parity: ParityResult[];
  /** What an inversion takes of memory with the CLIP that is given with a dLLM, measured by one in a process of its own. */
  footprint: Footprint | null;
  checks: Check[];
}

/**
 * Examines model folders, by default the embedded ones, and gives their reports in order. A dLLM that takes a CLIP's
 * embedding is held against the first CLIP among the folders, or else the embedded one. They run `on` a device.
 * @throws FkinvError `ORT_NOT_FOUND`, `ORT_VERSION`, `CUDA_UNAVAILABLE` or `CUDA_FAILED`
 */
export async function examineFolders(
  given: readonly string[],
  on: Omit<EngineOptions, 'threads'>,
): Promise<FolderReport[]> {
  const engine = createEngine({ ...on, threads: 1 });
  try {
    const folders = given.length > 0 ? given : [embeddedFolder('clip'), embeddedFolder('dllm')];
    const items = await Promise.all(folders.map((folder) => open(folder, on)));
    const clip = await examineClips(items, engine);
    await examineDllms(items, engine, clip);
    clip?.text.session.dispose();
    return await withFootprints(items, on);
  } finally {
    await engine.dispose();
  }
}

/** The reports, and of each dLLM, where a CLIP is given with it, what an inversion with the two takes. */
async function withFootprints(items: Item[], { device }: Pick<EngineOptions, 'device'>): Promise<FolderReport[]> {
  const clip = items.find(({ kind, exam }) => kind === 'clip' && exam.ok);
  for (const item of items) {
    const { kind, exam, given } = item;
    if (kind !== 'dllm' || clip === undefined || !exam.ok) continue;
    await exam.run('inversion', [], async () => {
      const found = await measureFootprint({ dllm: given, clip: clip.given, device });
      item.footprint = found;
      return [detailOf(found), undefined];
    });
  }
  return items.map(reportOf);
}

function detailOf({ particles, length, bytes, peakBytes }: Footprint): string {
  const peak = `${sizeText(peakBytes)} at most, with what is mapped from files`;
  return `of ${particles} particles, ${length} positions: ${sizeText(bytes)} of memory, ${peak}`;
}

/** A folder, and what has been found so far. */
interface Item {
  exam: Examination;
  /** What it was called by. */
  given: string;
  folder: ModelFolder;
  kind: ModelKind | null;
  files: FilesReport;
  loaded?: Loaded<unknown, DllmFacts | ClipFacts> | undefined;
  footprint: Footprint | null;
}

async function open(given: string, on: Omit<EngineOptions, 'threads'>): Promise<Item> {
  const exam = new Examination();
  let folder = new ModelFolder(path.resolve(given));
  const kind = await exam.run('kind', [], async () => {
    folder = await openModel(parseModelName(given), on);
    const found = await kindOf(folder);
    return [found === 'dllm' ? 'a dLLM' : 'a CLIP', found];
  });
  const files = kind === undefined ? noFiles : await examineFiles(exam, 'files', folder, kind);
  return { exam, given, folder, kind: kind ?? null, files, footprint: null };
}

function placeOf({ exam, folder, files }: Item, engine: NativeEngine): Place {
  return { exam, folder, engine, parityFile: files.parityFile, label: (part) => part, needs: ['files'] };
}

/** The first that loads, with its text graph. */
async function examineClips(items: Item[], engine: NativeEngine): Promise<Clip | undefined> {
  let first: Clip | undefined;
  for (const item of items.filter(({ kind }) => kind === 'clip')) {
    const loaded = await examineClip(placeOf(item, engine));
    item.loaded = loaded;
    if (first === undefined) first = loaded?.model;
    else loaded?.model.text.session.dispose();
  }
  return first;
}

async function examineDllms(items: Item[], engine: NativeEngine, given: Clip | undefined): Promise<void> {
  const dllms = items.filter(({ kind }) => kind === 'dllm');
  if (dllms.length === 0) return;
  const clip = given ?? (await Clip.load(engine, new ModelFolder(embeddedFolder('clip'))));
  for (const item of dllms) item.loaded = await examineDllm(placeOf(item, engine), clip, given === undefined);
}

function reportOf({ exam, folder, kind, files, loaded, footprint }: Item): FolderReport {
  const { graphs = [], facts = null, parity = [] } = loaded ?? {};
  return { folder: folder.path, kind, ok: exam.ok, ...files, graphs, facts, parity, footprint, checks: exam.checks };
}
