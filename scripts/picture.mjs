// node scripts/picture.mjs [file.svg]
// The README's picture, docs/bells.svg: an image, the prompt that is recovered of it, and how much each two of the prompt's
// tokens are coupled. test/docs.test.ts makes it anew and compares.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Inverter } from 'fkinv-native';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const image = path.join(root, 'examples', 'bells.png');
const [, , file = path.join(root, 'docs', 'bells.svg')] = process.argv;

const cell = 14; // px, of the matrix
const [width, height] = [760, 224]; // px, of the picture
const [textAt, matrixAt] = [216, 572]; // px from the left
const middle = height / 2;

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const write = (x, y, text, more = '') => `<text x="${x}" y="${y}"${more}>${escaped(text)}</text>`;
const arrow = (x) => `<path d="M${x} ${middle}h22m-7 -6l7 6l-7 6" fill="none" stroke="#57606a" stroke-width="1.5"/>`;

/** Words in lines of at most `columns` characters. */
function wrap(text, columns) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (longer.length > columns) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

function drawPrompt({ prompt, rewardClip, rewardEdit }) {
  const lines = wrap(prompt, 28);
  const top = middle - 12 * lines.length;
  return [
    ...lines.map((line, i) => write(textAt, top + 24 * i, line, ' font-size="18"')),
    write(textAt, top + 24 * lines.length, `rewardClip ${rewardClip.toFixed(2)}, rewardEdit ${rewardEdit.toFixed(2)}`),
  ];
}

/** S over the positions that count: the darker a square, the more alike what the dLLM predicts at the two positions. */
function drawCoupling({ matrix, labels, counted }) {
  const positions = labels.flatMap((_, i) => (counted[i] ? [i] : []));
  const top = middle - (cell * positions.length) / 2;
  const side = cell * positions.length;
  const ground = `<rect x="${matrixAt - 1}" y="${top - 1}" width="${side + 1}" height="${side + 1}" fill="#f6f8fa"/>`;
  const rows = positions.flatMap((i, row) => [
    write(matrixAt - 6, top + cell * row + 11, labels[i].trim(), ' text-anchor="end"'),
    ...positions.map((j, column) => {
      const fill = i === j ? 'fill="#d0d7de"' : `fill="#bc4c00" fill-opacity="${matrix[i][j].toFixed(2)}"`;
      const place = `x="${matrixAt + cell * column}" y="${top + cell * row}" width="${cell - 1}" height="${cell - 1}"`;
      return `<rect ${place} ${fill}/>`;
    }),
  ]);
  return [ground, ...rows];
}

const inverter = await Inverter.load();
const inversion = await inverter.invert(image);
await inverter.dispose();
const lines = [
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#57606a">`,
  `<rect width="${width}" height="${height}" rx="8" fill="#ffffff"/>`,
  `<image x="16" y="${middle - 80}" width="160" height="160" href="data:image/png;base64,${readFileSync(image).toString('base64')}"/>`,
  arrow(184),
  ...drawPrompt(inversion),
  arrow(470),
  ...drawCoupling(inversion.coupling),
  '</svg>',
];
writeFileSync(file, `${lines.join('\n')}\n`);
