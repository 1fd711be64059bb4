const { philox } = require('fkinv-native/kernels');

console.log(philox([0, 0, 0, 0], [0, 0])[0].toString(16)); // 6627e8d5, the generator's published first answer
