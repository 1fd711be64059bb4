/** Where the instruction stands in a text of a manifest. */
export const instructionPlace = '{instruction}';

/** Where the hints stand in the sentence of a manifest that tells of them. */
export const hintsPlace = '{hints}';
