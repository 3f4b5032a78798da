/** A list of uploads: pick files, watch their progress, and pause, cancel or retry each of them. */

import { formatBytes } from "presign-uploads";
import { memo } from "react";

import { useUploads } from "./use_uploads.js";

export function App() {
  const { items, uploader } = useUploads({ api: "/files" });
  const { loaded, total } = uploader.totals;
  const addFiles = ({ target }) => {
    uploader.add(target.files);
    // Otherwise the browser says nothing when the same file is picked again.
    target.value = "";
  };
  return (
    <main>
      <label>
        Pictures <input type="file" multiple accept="image/png,image/jpeg" onChange={addFiles} />
      </label>
      <p>
        {formatBytes(loaded)} of {formatBytes(total)}
      </p>
      <ul>
        {items.map((item) => (
          <Row key={item.id} item={item} uploader={uploader} />
        ))}
      </ul>
    </main>
  );
}

// An item is never changed, only replaced, so memo() renders the row of the changed file alone.
const Row = memo(function Row({ item, uploader }) {
  const { id, file, state, loaded, error } = item;
  const hasEnded = ["done", "failed", "cancelled"].includes(state);
  const canRetry = state === "cancelled" || (state === "failed" && error.retryable);
  return (
    <li data-state={state}>
      {file.name} <progress aria-label={file.name} max={file.size || 1} value={loaded} /> {error?.message ?? state}{" "}
      {!hasEnded && state !== "paused" && <Action act={() => uploader.pause(id)}>Pause</Action>}
      {state === "paused" && <Action act={() => uploader.resume(id)}>Resume</Action>}
      {!hasEnded && <Action act={() => uploader.cancel(id)}>Cancel</Action>}
      {canRetry && <Action act={() => uploader.retry(id)}>Retry</Action>}
      {hasEnded && <Action act={() => uploader.remove(id)}>Remove</Action>}
    </li>
  );
});

function Action({ act, children }) {
  return (
    <button type="button" onClick={act}>
      {children}
    </button>
  );
}
