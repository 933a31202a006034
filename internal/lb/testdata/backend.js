// Answers every request, and tells on its output what it took for one.
const server = require('http').createServer((req, res) => {
  let n = 0;
  req.on('data', (d) => { n += d.length; });
  req.on('end', () => {
    if (req.url !== '/health') console.log(`${req.method} ${req.url} ${n}`);
    res.writeHead(200, { 'Content-Length': 0 });
    res.end();
  });
  req.on('error', () => {});
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
