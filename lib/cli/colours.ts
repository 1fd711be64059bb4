import pc from 'picocolors';
import { environment } from '../util/environment';

type Colours = ReturnType<typeof pc.createColors>;

/**
 * Colours for what goes to `stream`: as the environment says, else those of a terminal that has any (`TERM=dumb` has none).
 * picocolors itself asks stdout for both streams, and says yes in any CI.
 */
export function coloursOf(stream: NodeJS.WriteStream): Colours {
  return pc.createColors(environment.colours ?? (stream.isTTY ? stream.hasColors() : false));
}

/** Colours for what commander prints, which takes them out where {@link coloursOf} has none. */
export const helpColours: Colours = pc.createColors(true);
