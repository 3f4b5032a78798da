/** Many forms with tickets that the page was given, six at a time: neither tickets nor completions are asked for. */

const AT_ONCE = 6;

function sendForm({ url, fields }, file) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file);
    const xhr = new XMLHttpRequest();
    xhr.onloadend = () => (xhr.status >= 200 && xhr.status < 300 ? resolve() : reject(new Error(xhr.responseText)));
    xhr.open("POST", url);
    xhr.send(form);
  });
}

globalThis.send = async (tickets) => {
  const { files } = document.querySelector("input");
  let next = 0;
  const sendAll = async () => {
    while (next < tickets.length) {
      const index = next++;
      await sendForm(tickets[index], files[index]);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, sendAll));
  return { seconds: (performance.now() - started) / 1000 };
};
