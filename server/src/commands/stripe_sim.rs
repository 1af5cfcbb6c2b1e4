//! `stripe-sim`: a Stripe that runs on one's own machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use stripe_simulator::{Options, Server, StartError};

use super::{Failure, print, print_json};
use crate::serve::{Signals, end_when_asked_again};

pub(crate) const HELP: &str = "\
Example: membership stripe-sim --webhook http://127.0.0.1:8080/webhooks/stripe --secret whsec_simulator

It speaks Stripe's API under /v1 with any sk_test_… key; checkout and portal have pages to click through. Test cards:
  4242424242424242  is paid                     4000000000000341  is paid now, declined at renewal
  4000000000000002  is declined                 4000002500003155  wants 3-D Secure once
  4000002760003184  wants 3-D Secure every time

Steer it under /_sim:
  POST clock {\"advance\":\"30d\"}                  everything due on the way happens, in order
  POST faults {\"duplicate\":0.2,\"shuffle\":true}  also drop, delay, api_version, seed, ties, api {status, rate, times, delay, path}
  POST flush                                    deliver what is held
  POST customers/{cus}/card {\"number\":\"4000000000000341\"}
  GET  deliveries, truth/{sub}?at=T             what was sent, what was really true
  POST secrets {\"secret\":\"whsec_new\",\"overlap\":\"24h\"}, settings {\"dunning_end\":\"unpaid\"}
  POST disputes {\"subscription\":\"sub_…\"}, disputes/{id} {\"status\":\"won\"}, refunds/{id}/fail,
       subscriptions/{sub}/pause, invoices/{in}/authenticate {\"passed\":true}";

/// How the simulator starts.
#[derive(Debug, Args)]
pub(crate) struct StripeSimArgs {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:12111", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where webhooks are delivered; without it events can only be listed
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// What signs the webhooks
    #[arg(long, default_value = "whsec_simulator", value_name = "WHSEC")]
    secret: String,
    /// Keep everything in this file; without it, it is gone when the simulator stops
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Products and prices to sell, as JSON; without it, those of the sample catalogue
    #[arg(long, value_name = "FILE")]
    products: Option<PathBuf>,
    /// The number that ids and chance follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Listen on an address that others can reach: anybody there can steer it
    #[arg(long)]
    reachable_by_others: bool,
}

/// Serves until told to stop.
pub(crate) async fn run(args: StripeSimArgs, json: bool) -> Result<ExitCode, Failure> {
    if !args.listen.ip().is_loopback() && !args.reachable_by_others {
        return Err(Failure::Usage(format!(
            "--listen: others can reach {}, and it asks nobody for a password; use 127.0.0.1, or add --reachable-by-others",
            args.listen
        )));
    }
    let (webhook, secret) = (args.webhook.clone(), args.secret.clone());
    let server = Server::open(Options {
        listen: args.listen,
        webhook: args.webhook,
        secret: args.secret,
        data: args.data,
        seed: args.seed,
        products: args.products,
    });
    let server = server.await.map_err(|error| match error {
        StartError::Listen(..) => Failure::Unavailable(format!("--listen: {error}")),
        StartError::Options(_) | StartError::File { .. } => Failure::Usage(error.to_string()),
    })?;
    let url = format!("http://{}", server.address());
    // Before anybody is told that it runs: from then on it may be asked to stop.
    let mut signals = Signals::heard();
    if json {
        print_json(&json!({ "url": url, "webhook": webhook, "secret": secret }))?;
    } else {
        tell(&url, webhook.as_deref(), &secret)?;
    }
    let stop = async move {
        signals.next().await;
        end_when_asked_again(signals);
    };
    server.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn tell(url: &str, webhook: Option<&str>, secret: &str) -> Result<(), Failure> {
    let delivered = match webhook {
        Some(webhook) => format!("{webhook}   signed with {secret}"),
        None => "none (--webhook URL delivers them)".to_owned(),
    };
    print(format!(
        "Stripe simulator on {url}\n\
         \x20 API base    {url}/   with any sk_test_… key\n\
         \x20 Webhooks    {delivered}\n\
         \x20 Turn time   curl -X POST {url}/_sim/clock -d '{{\"advance\":\"30d\"}}'\n\
         Stop with Ctrl-C."
    ))
}
