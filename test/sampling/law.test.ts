// The particles' law, of one order as K grows and of a case of each kind; test/long/law.long.ts has the others.
import { cases, faultsMiss, growsTo, isInShort, isTargetOf, orders, setUp } from '../helpers/law';

setUp();
for (const order of orders.filter(isInShort)) growsTo(order);
for (const name of Object.keys(cases).filter(isInShort)) isTargetOf(name);
faultsMiss();
