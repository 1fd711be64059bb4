// The particles' law, of every order as K grows and of every case.
import { cases, growsTo, isTargetOf, orders, setUp } from '../law';

setUp();
for (const order of orders) growsTo(order);
for (const name of Object.keys(cases)) isTargetOf(name);
