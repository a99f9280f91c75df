// An HTTP server that leaks 32 MiB with each request to /; /slow?FILE answers when the file is there.
'use strict';

const fs = require('node:fs');
const http = require('node:http');

const kept = [];

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/slow') {
    response.write('begun\n');
    const timer = setInterval(() => {
      if (fs.existsSync(url.search.slice(1))) {
        clearInterval(timer);
        response.end('finished\n');
      }
    }, 100);
  } else {
    kept.push(Buffer.alloc(32 << 20, 'x'));
    response.end('hello\n');
  }
});

if (process.argv[2] !== 'without-handler') {
  process.on('SIGTERM', () => {
    console.log('SIGTERM: no new connections; finishing the requests at hand');
    server.close(() => console.log('done, bye'));  // nothing is left to do: Node.js exits with status 0
    server.closeIdleConnections();
  });
}

server.listen(8000, '127.0.0.1');
