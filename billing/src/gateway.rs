//! What is asked of Stripe to know what is so.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::billing::BillingError;
use domain::clock::Clock;
use domain::ids::{CustomerId, PaymentId, SubscriptionId};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use stripe_billing::invoice_payment::{
    ListInvoicePayment, ListInvoicePaymentPayment, ListInvoicePaymentPaymentType,
};
use stripe_billing::subscription::{ListSubscription, ListSubscriptionStatus, RetrieveSubscription};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::event::ListEvent;
use stripe_types::{RangeBoundsTs, RangeQueryTs};
use webhook_ingest::provider::{Found, Listed, Provider};

use crate::transport::{BadSettings, Settings, Transport};

/// As many as Stripe gives at once.
const PAGE: i64 = 100;

/// The kinds of objects that are fetched by their id alone: how their ids begin, and where they are.
const KINDS: [(&str, &str); 12] = [
    // Before the kind whose ids begin with a part of it.
    ("sub_sched_", "subscription_schedules"),
    ("sub_", "subscriptions"),
    ("in_", "invoices"),
    ("cus_", "customers"),
    ("cs_", "checkout/sessions"),
    ("ch_", "charges"),
    ("py_", "charges"),
    ("re_", "refunds"),
    ("dp_", "disputes"),
    ("du_", "disputes"),
    ("inpay_", "invoice_payments"),
    ("issfr_", "radar/early_fraud_warnings"),
];

/// Stripe.
pub struct Gateway {
    transport: Transport,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
}

impl Gateway {
    /// Stripe, reached like this. Nothing is sent yet.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, BadSettings> {
        Ok(Self { transport: Transport::new(settings, clock)? })
    }

    /// An object, or nothing when Stripe has none.
    pub(crate) async fn get(&self, request: RequestBuilder) -> Result<Option<Found>, BillingError> {
        match self.transport.send(request, None).await {
            Ok(answer) => Ok(Some(Found { object: read(&answer.body)?, asked: answer.asked })),
            Err(BillingError::Refused { code, .. }) if code == "resource_missing" => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, request: RequestBuilder) -> Result<Listed, BillingError> {
        let answer = self.transport.send(request, None).await?;
        let List { data, has_more } = read(&answer.body)?;
        Ok(Listed { objects: data, has_more, asked: answer.asked })
    }

    /// Sends what changes something; `key` makes sending it twice do it once.
    pub(crate) async fn change(&self, request: RequestBuilder, key: &str) -> Result<Value, BillingError> {
        let answer = self.transport.send(request, Some(key)).await?;
        read(&answer.body)
    }

    /// Sends a request that is written like a change and changes nothing.
    pub(crate) async fn read_only(&self, request: RequestBuilder) -> Result<Value, BillingError> {
        let answer = self.transport.send(request, None).await?;
        read(&answer.body)
    }

    /// A subscription that has to be there.
    pub(crate) async fn needed(&self, id: &SubscriptionId) -> Result<Value, BillingError> {
        let found = self.subscription(id).await?;
        found.map(|found| found.object).ok_or_else(|| BillingError::Refused {
            code: "resource_missing".to_owned(),
            message: format!("there is no subscription {id}"),
        })
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BillingError> {
    serde_json::from_slice(body)
        .map_err(|error| BillingError::Unavailable(format!("its answer cannot be read: {error}")))
}

#[async_trait]
impl Provider for Gateway {
    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Found>, BillingError> {
        self.get(RetrieveSubscription::new(id.as_str()).build()).await
    }

    async fn subscriptions(
        &self,
        of: Option<&CustomerId>,
        after: Option<&str>,
    ) -> Result<Listed, BillingError> {
        // With their payers, so that it is known who they are without another call for each.
        let mut list = ListSubscription::new()
            .status(ListSubscriptionStatus::All)
            .limit(PAGE)
            .expand(vec!["data.customer".to_owned()]);
        if let Some(customer) = of {
            list = list.customer(customer.as_str());
        }
        if let Some(after) = after {
            list = list.starting_after(after);
        }
        self.list(list.build()).await
    }

    async fn events(&self, since: DateTime<Utc>, after: Option<&str>) -> Result<Listed, BillingError> {
        let bounds = RangeBoundsTs { gte: Some(since.timestamp()), ..RangeBoundsTs::default() };
        let mut list = ListEvent::new().created(RangeQueryTs::Bounds(bounds)).limit(PAGE);
        if let Some(after) = after {
            list = list.starting_after(after);
        }
        self.list(list.build()).await
    }

    async fn object(&self, id: &str) -> Result<Option<Value>, BillingError> {
        let Some((_, place)) = KINDS.iter().find(|(prefix, _)| id.starts_with(prefix)) else {
            return Ok(None);
        };
        let request = RequestBuilder::new(StripeMethod::Get, format!("/{place}/{id}"));
        Ok(self.get(request).await?.map(|found| found.object))
    }

    async fn invoice_paid_by(&self, payment: &PaymentId) -> Result<Option<Value>, BillingError> {
        let mut intent = payment.to_string();
        if !intent.starts_with("pi_") {
            // A charge names the payment intent it was made for, or, in old ways of paying, the invoice itself.
            let Some(charge) = self.object(payment.as_str()).await? else { return Ok(None) };
            match (text(&charge, "payment_intent"), text(&charge, "invoice")) {
                (Some(made_for), _) => intent = made_for,
                (None, Some(invoice)) => return self.object(&invoice).await,
                (None, None) => return Ok(None),
            }
        }
        let mut of = ListInvoicePaymentPayment::new(ListInvoicePaymentPaymentType::PaymentIntent);
        of.payment_intent = Some(intent);
        let list = self.list(ListInvoicePayment::new().payment(of).limit(1).build()).await?;
        let Some(paid) = list.objects.first() else { return Ok(None) };
        let paid: Value = read(paid.get().as_bytes())?;
        match text(&paid, "invoice") {
            Some(invoice) => self.object(&invoice).await,
            None => Ok(None),
        }
    }
}

/// The id under a name, whether written alone or in the object itself.
pub(crate) fn text(object: &Value, field: &str) -> Option<String> {
    let value = object.get(field)?;
    value.as_str().or_else(|| value.get("id")?.as_str()).map(str::to_owned)
}
