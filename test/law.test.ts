// The particles' law, of one order as K grows and of a case of each kind; test/long/law.long.ts has all of them.
import { cases, faultsMiss, growsTo, isTargetOf, setUp } from './law';

setUp();
growsTo('confidence');
for (const name of Object.keys(cases).filter((_, i) => i % 5 === 1)) isTargetOf(name);
faultsMiss();
