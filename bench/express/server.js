// The ticket server that most people write: Express, @aws-sdk/client-s3 and createPresignedPost. See README.md.
import cluster from "node:cluster";
import { randomUUID } from "node:crypto";

import { S3Client } from "@aws-sdk/client-s3";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import cors from "cors";
import express from "express";

const { BUCKET, ORIGIN, PORT, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = process.env;
const WORKERS = Number(process.env.WORKERS ?? 1);
const TYPES = new Set(["image/gif", "image/jpeg", "image/png", "image/webp"]);
const MIN_BYTES = 1;
const MAX_BYTES = 2 ** 30;
const EXPIRES_SECONDS = 60;

function serve() {
  const s3 = new S3Client({
    region: AWS_REGION,
    credentials: { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY },
  });
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use(cors({ origin: ORIGIN }));
  app.use(express.json({ limit: "16kb" }));

  app.post("/upload", async (request, response) => {
    const { type, size } = request.body ?? {};
    if (!TYPES.has(type)) return response.status(415).json({ error: "type not allowed" });
    if (size !== undefined && !(Number.isInteger(size) && size >= MIN_BYTES && size <= MAX_BYTES)) {
      return response.status(413).json({ error: "size not allowed" });
    }
    const key = `public/${randomUUID()}`;
    const { url, fields } = await createPresignedPost(s3, {
      Bucket: BUCKET,
      Key: key,
      Fields: { "Content-Type": type, success_action_status: "201" },
      Conditions: [["content-length-range", size ?? MIN_BYTES, size ?? MAX_BYTES]],
      Expires: EXPIRES_SECONDS,
    });
    response.set("Cache-Control", "no-store").json({ method: "POST", url, fields, key });
  });

  app.listen(Number(PORT), "127.0.0.1");
}

if (WORKERS > 1 && cluster.isPrimary) {
  for (let worker = 0; worker < WORKERS; worker += 1) cluster.fork();
} else {
  serve();
}
