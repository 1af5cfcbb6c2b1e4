//! Spans to a collector: OTLP over HTTP, protobuf.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, Request, Response};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetrySpanExt, layer};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{COLLECTOR, collector};

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// Spans of ours; those of libraries may say what nobody has looked at.
const OURS: [&str; 5] = ["api", "projections", "server", "storage", "webhook_ingest"];

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that sends spans, where a collector is set.
pub(super) fn start<S>(runtime: &Handle) -> Result<Option<impl Layer<S>>, String>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let Some(url) = collector() else { return Ok(None) };
    if !url.starts_with("http://") {
        return Err(format!("{COLLECTOR} has to begin with http://, for example http://127.0.0.1:4318"));
    }
    let provider = provider(runtime, None)?;
    let spans = spans(&provider);
    PROVIDER.set(provider).map_err(|_| "it was started before".to_owned())?;
    Ok(Some(spans))
}

/// Sends to `endpoint`, or to where the standard settings say.
fn provider(runtime: &Handle, endpoint: Option<&str>) -> Result<SdkTracerProvider, String> {
    let client = HyperClient::with_default_connector(PATIENCE, None);
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(OnRuntime { runtime: runtime.clone(), client });
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let exporter = builder.build().map_err(|error| error.to_string())?;
    let resource = Resource::builder().with_service_name("membership").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let ours = OURS.map(|target| (target, Level::DEBUG));
    // Events stay in the log.
    let ours = Targets::new().with_targets(ours);
    layer().with_tracer(provider.tracer("membership")).with_filter(ours.and(filter_fn(|told| told.is_span())))
}

/// Makes a request's span go on with the trace that its headers name, or says which trace it begins.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) {
    let named = TraceContextPropagator::new().extract(&Headers(headers));
    if named.span().span_context().is_valid() {
        // It fails only where no spans are sent.
        span.set_parent(named).ok();
        return;
    }
    let begun = span.context();
    let trace = begun.span().span_context().trace_id();
    if begun.span().span_context().is_valid() {
        span.record("trace_id", trace.to_string());
    }
}

/// Sends what has not been sent yet.
pub(crate) fn stop() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, "the last spans were not sent");
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// The exporter works on a thread of its own, which has no reactor; requests are made on the runtime's.
#[derive(Debug)]
struct OnRuntime {
    runtime: Handle,
    client: HyperClient,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use domain::clock::SystemClock;
    use storage::Access;
    use tower::ServiceExt;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;
    use webhook_ingest::stripe::signature::{Secrets, sign};

    use super::*;
    use crate::app::App;
    use crate::config::{Config, Role};
    use crate::serve;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    /// A collector that keeps what it is sent.
    fn fake_collector() -> (String, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let keeping = kept.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
                let whole = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_lowercase();
                    let length =
                        text.split("content-length: ").nth(1)?.split('\r').next()?.parse::<usize>().ok()?;
                    let head = request.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
                    Some(request.len() >= head + length)
                };
                while whole(&request) != Some(true) {
                    match stream.read(&mut chunk) {
                        Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                        _ => break,
                    }
                }
                keeping.lock().unwrap().extend(request);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .unwrap();
            }
        });
        (url, kept)
    }

    fn holds(kept: &[u8], part: &[u8]) -> bool {
        kept.windows(part.len()).any(|bytes| bytes == part)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(pair).collect()
    }

    #[tokio::test]
    async fn a_collector_gets_the_spans_of_a_request_a_delivery_and_a_projection_in_the_callers_trace() {
        let (url, kept) = fake_collector();
        let provider = provider(&Handle::current(), Some(&url)).unwrap();
        let _guard = tracing::subscriber::set_default(registry().with(spans(&provider)));

        let folder = tempfile::tempdir().unwrap();
        let database_url = format!("sqlite://{}", folder.path().join("traced.db").display());
        let clock = Arc::new(SystemClock);
        let storage = storage::open(&database_url, Access::Write, clock.clone()).await.unwrap();
        let app = App::start(storage, clock, None);
        app.caught_up().await.unwrap();
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            database_url,
            webhook_secrets: Secrets::parse("whsec_traced").ok(),
            livemode: None,
            catalog: None,
            service_tokens: api::ServiceTokens::parse("test:members.write:a-token-of-the-traces").unwrap(),
            limits: crate::limits::Limits::default(),
            index_snapshot: None,
            billing: None,
            schedule: crate::keeper::Schedule::default(),
        };
        let router = serve::routes(&app, &config, Role::All);
        let made = Request::post("/v1/members")
            .header("authorization", "Bearer a-token-of-the-traces")
            .header("content-type", "application/json")
            .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
            .body(Body::from("{\"id\":\"mem_traced\",\"email\":\"ada@example.com\"}"));
        assert_eq!(router.clone().oneshot(made.unwrap()).await.unwrap().status(), 201);
        let body = "{\"id\":\"evt_traced\",\"type\":\"customer.created\",\"created\":1,\"data\":{\"object\":\
                    {\"id\":\"cus_traced\",\"object\":\"customer\",\"metadata\":{\"member_id\":\"mem_traced\"}}}}";
        let signature = sign("whsec_traced", body.as_bytes(), app.clock.now());
        let delivered =
            Request::post("/webhooks/stripe").header("stripe-signature", signature).body(Body::from(body));
        assert_eq!(router.oneshot(delivered.unwrap()).await.unwrap().status(), 200);
        app.worker.drain().await.unwrap();
        app.caught_up().await.unwrap();
        app.shutdown().await;
        tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();

        let kept = kept.lock().unwrap();
        for part in [
            "POST /v1/traces",
            "membership",
            "request",
            "/v1/members",
            "command",
            "append",
            "delivery",
            "evt_traced",
            "apply",
        ] {
            assert!(holds(&kept, part.as_bytes()), "no {part:?} in {}", String::from_utf8_lossy(&kept));
        }
        for id in [TRACE, PARENT] {
            assert!(holds(&kept, &bytes(id)), "the caller's {id} is not there");
        }
        assert!(!holds(&kept, b"ada@example.com"), "a person's address was sent");
    }
}
