/** The requests to the application's own server, for pages whose uploader sends the file itself. */

const ATTEMPTS = 20;

/** Post JSON and return the answer; repeat it as long as the server says when to ask again. */
export async function post(url, body) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(url, request);
    const answer = await response.json();
    if (response.status === 200) return answer;
    const seconds = response.headers.get("Retry-After");
    if (seconds === null || attempt === ATTEMPTS) throw new Error(answer.detail);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}
