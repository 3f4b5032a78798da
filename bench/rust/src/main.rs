//! The ticket server that people write in Rust: axum, tokio, and the POST policies of rust-s3. See README.md.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use s3::creds::Credentials;
use s3::error::S3Error;
use s3::post_policy::PresignedPost;
use s3::{Bucket, PostPolicy, PostPolicyField as Field, PostPolicyValue as Value};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime;
use tower_http::cors::{AllowOrigin, CorsLayer};
use uuid::Uuid;

const SIZES: RangeInclusive<u32> = 1..=1 << 30;
const MAX_BODY_BYTES: usize = 16 << 10;
const EXPIRES_SECONDS: u32 = 60;
const TYPES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];

#[derive(Deserialize)]
struct UploadRequest {
    #[serde(rename = "type", default)]
    content_type: String,
    size: Option<i64>,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Serialize)]
struct Ticket {
    method: &'static str,
    url: String,
    fields: HashMap<String, String>,
    key: String,
}

type Refusal = (StatusCode, &'static str);

async fn upload(
    State(bucket): State<Arc<Bucket>>,
    Json(wanted): Json<UploadRequest>,
) -> Result<impl IntoResponse, Refusal> {
    if !TYPES.contains(&wanted.content_type.as_str()) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "type not allowed"));
    }
    let sizes = match wanted.size {
        None => SIZES,
        Some(size) => u32::try_from(size)
            .ok()
            .filter(|size| SIZES.contains(size))
            .map(|size| size..=size)
            .ok_or((StatusCode::PAYLOAD_TOO_LARGE, "size not allowed"))?,
    };
    let key = format!("public/{}", Uuid::new_v4().simple());
    let form = sign(&bucket, &key, &wanted.content_type, &sizes).await.map_err(|error| {
        eprintln!("{error}");
        (StatusCode::INTERNAL_SERVER_ERROR, "cannot sign")
    })?;
    let ticket = Ticket { method: "POST", url: form.url, fields: form.fields, key };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(ticket)))
}

async fn sign(
    bucket: &Bucket,
    key: &str,
    content_type: &str,
    sizes: &RangeInclusive<u32>,
) -> Result<PresignedPost, S3Error> {
    let policy = PostPolicy::new(EXPIRES_SECONDS)
        .condition(Field::Key, Value::Exact(key.into()))?
        .condition(Field::ContentType, Value::Exact(content_type.into()))?
        .condition(Field::SuccessActionStatus, Value::Exact("201".into()))?
        .condition(Field::ContentLengthRange, Value::Range(*sizes.start(), *sizes.end()))?;
    bucket.presign_post(policy).await
}

fn main() -> Result<(), Box<dyn Error>> {
    let credentials = Credentials::new(
        Some(&env::var("AWS_ACCESS_KEY_ID")?),
        Some(&env::var("AWS_SECRET_ACCESS_KEY")?),
        None,
        None,
        None,
    )?;
    let bucket = Bucket::new(&env::var("BUCKET")?, env::var("AWS_REGION")?.parse()?, credentials)?;
    // A list of one: with a single origin, tower-http would name it in the answers to all others too.
    let origins = [env::var("ORIGIN")?.parse::<HeaderValue>()?];
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers([header::CONTENT_TYPE]);
    let app = Router::new()
        .route("/upload", post(upload))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(cors)
        .with_state(Arc::from(bucket));
    let address = (Ipv4Addr::LOCALHOST, env::var("PORT")?.parse::<u16>()?);
    // One worker needs no threads that share the work.
    let runtime = match env::var("WORKERS")?.parse::<usize>()? {
        1 => runtime::Builder::new_current_thread().enable_all().build()?,
        workers => runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?,
    };
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?.tap_io(|connection| {
            // An answer is one write, so a connection that keeps its delay still works.
            let _ = connection.set_nodelay(true);
        });
        axum::serve(listener, app).await
    })?;
    Ok(())
}
