// The particles' law, of the orders as K grows and of the cases that test/sampling/law.test.ts leaves.
import { cases, growsTo, isInShort, isTargetOf, orders, setUp } from '../helpers/law';

setUp();
for (const order of orders.filter((each) => !isInShort(each))) growsTo(order);
for (const name of Object.keys(cases).filter((each) => !isInShort(each))) isTargetOf(name);
