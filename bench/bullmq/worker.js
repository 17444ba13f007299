// The client of BullMQ: reads "drain N" or "trickle N", answers with one line of JSON.
const { Queue, Worker } = require('bullmq');
const readline = require('readline');

const connection = { host: '127.0.0.1', port: +process.argv[2], maxRetriesPerRequest: null };
const options = { removeOnComplete: true, removeOnFail: true };
const now = () => performance.now();

// work carries out n jobs with 64 at a time and calls seen for each.
const work = (name, n, seen) => new Promise((resolve, reject) => {
  let left = n;
  const worker = new Worker(name, async (job) => seen(job), { connection, concurrency: 64 });
  worker.on('completed', () => { if (--left === 0) worker.close().then(resolve, reject); });
  worker.on('error', reject);
});

async function drain(n) {
  const queue = new Queue('drain', { connection, defaultJobOptions: options });
  let begun = now(), next = 0;
  await Promise.all(Array.from({ length: 16 }, async () => { while (next++ < n) await queue.add('t', {}); }));
  const submit = now() - begun;
  begun = now();
  await work('drain', n, () => {});
  const spent = now() - begun;
  await queue.close();
  return { submit, work: spent };
}

async function trickle(n) {
  const queue = new Queue('trickle', { connection, defaultJobOptions: options });
  const waits = [], at = [];
  const done = work('trickle', n, (job) => { waits.push(now() - at[job.data.i]); });
  await new Promise((resolve) => {
    let i = 0;
    const timer = setInterval(() => {
      at[i] = now();
      queue.add('t', { i });
      if (++i === n) { clearInterval(timer); resolve(); }
    }, 25);
  });
  await done;
  await queue.close();
  return { waits };
}

const input = readline.createInterface({ input: process.stdin });
(async () => {
  for await (const line of input) {
    const [what, n] = line.split(' ');
    console.log(JSON.stringify(await (what === 'drain' ? drain : trickle)(+n)));
  }
  process.exit(0);
})().catch((err) => { console.error(err); process.exit(1); });
