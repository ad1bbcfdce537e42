// Preloaded into each emulator (node --require). Whatever port it is told to listen on, it listens on a free one of the
// loopback interface and reports that on descriptor 3, as a line "TOLD FREE".
'use strict'

const fs = require('node:fs')
const net = require('node:net')

const listen = net.Server.prototype.listen

net.Server.prototype.listen = function (...args) {
  const told = args[0]?.port ?? args[0]
  const callback = args.findLast((arg) => typeof arg === 'function')
  this.once('listening', () => fs.writeSync(3, `${told} ${this.address().port}\n`))
  return listen.call(this, { host: '127.0.0.1', port: 0 }, callback)
}
