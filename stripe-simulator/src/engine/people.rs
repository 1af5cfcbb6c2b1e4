//! Customers, products, prices and payment methods.

use super::cards::{Behaviour, Card};
use super::clock::Interval;
use super::error::ApiError;
use super::model::{Customer, Kept, Metadata, PaymentMethod, Price, Product};
use super::{Cancellation, Engine};

/// What is said of a customer; what is absent stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct CustomerChange {
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) payment_method: Option<String>,
    pub(crate) balance: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct NewProduct {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) inactive: bool,
}

/// The highest amount of a price.
const MOST: i64 = 99_999_999;

#[derive(Debug, Clone, Default)]
pub(crate) struct NewPrice {
    pub(crate) id: Option<String>,
    pub(crate) product: String,
    pub(crate) currency: String,
    pub(crate) amount: i64,
    pub(crate) recurring: Option<Interval>,
    pub(crate) nickname: Option<String>,
    pub(crate) lookup_key: Option<String>,
    pub(crate) metadata: Metadata,
}

/// Metadata as a call changes it: an empty value removes the key.
pub(crate) fn merge(kept: &mut Metadata, change: Option<&Metadata>) {
    for (key, value) in change.into_iter().flatten() {
        if value.is_empty() {
            kept.remove(key);
        } else {
            kept.insert(key.clone(), value.clone());
        }
    }
}

fn set(kept: &mut Option<String>, change: Option<&String>) {
    if let Some(value) = change {
        *kept = Some(value.clone()).filter(|value| !value.is_empty());
    }
}

impl NewPrice {
    /// Refuses amounts and intervals that Stripe does not take.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.amount < 0 {
            let why = "Invalid unit_amount: must be greater than or equal to 0";
            return Err(ApiError::invalid(why).coded("parameter_invalid_integer").at("unit_amount"));
        }
        if self.amount > MOST {
            let why = format!("Invalid unit_amount: must be no more than {MOST}");
            return Err(ApiError::invalid(why).coded("amount_too_large").at("unit_amount"));
        }
        self.recurring.and_then(Interval::mistake).map_or(Ok(()), Err)
    }
}

impl Engine {
    pub(crate) fn create_customer(&mut self, change: &CustomerChange) -> Result<String, ApiError> {
        let customer = Customer {
            id: self.id("cus_"),
            created: self.now,
            invoice_prefix: format!("{:08X}", self.below(1 << 32)),
            ..Customer::default()
        };
        let mut customer = customer;
        describe(&mut customer, change);
        let id = self.create(customer);
        if let Some(method) = &change.payment_method {
            let method = self.attach(method, &id)?;
            self.update::<Customer>(&id, |kept| kept.payment_method = Some(method));
        }
        Ok(id)
    }

    pub(crate) fn update_customer(&mut self, id: &str, change: &CustomerChange) -> Result<(), ApiError> {
        self.customer(id)?;
        if let Some(method) = &change.payment_method {
            let owner = self.find::<PaymentMethod>(method)?.customer.clone();
            if owner.as_deref() != Some(id) {
                let why = "The payment method must be attached to the customer before it can be its default.";
                return Err(ApiError::invalid(why).at("invoice_settings[default_payment_method]"));
            }
        }
        self.update::<Customer>(id, |kept| {
            describe(kept, change);
            set(&mut kept.payment_method, change.payment_method.as_ref());
        });
        Ok(())
    }

    /// A customer who has not been deleted.
    pub(crate) fn customer(&self, id: &str) -> Result<&Customer, ApiError> {
        let customer = self.find::<Customer>(id).map_err(|error| error.at("customer"))?;
        if customer.deleted { Err(ApiError::missing("customer", id).at("customer")) } else { Ok(customer) }
    }

    /// Everything the customer subscribes to ends, then the customer is gone.
    pub(crate) fn delete_customer(&mut self, id: &str) -> Result<(), ApiError> {
        self.customer(id)?;
        let theirs = |engine: &Self| -> Vec<String> {
            let all = engine.store.subscriptions.iter();
            let open = all.filter(|kept| kept.customer == id && !kept.status.is_over());
            open.map(|kept| kept.id().to_owned()).collect()
        };
        for subscription in theirs(self) {
            self.cancel(&subscription, &Cancellation::default())?;
        }
        self.tell::<Customer>("customer.deleted", id);
        self.touch::<Customer>(id, |kept| kept.deleted = true);
        Ok(())
    }

    pub(crate) fn create_product(&mut self, new: NewProduct) -> Result<String, ApiError> {
        let id = match new.id {
            Some(id) if self.store.products.find(&id).is_some() => {
                return Err(ApiError::invalid(format!("Product already exists: {id}"))
                    .coded("resource_already_exists")
                    .at("id"));
            }
            Some(id) => id,
            None => self.id("prod_"),
        };
        let (created, updated) = (self.now, self.now);
        Ok(self.create(Product {
            id,
            created,
            updated,
            name: new.name,
            description: new.description,
            active: !new.inactive,
            metadata: new.metadata,
            default_price: None,
        }))
    }

    pub(crate) fn create_price(&mut self, new: NewPrice) -> Result<String, ApiError> {
        new.check()?;
        self.find::<Product>(&new.product).map_err(|error| error.at("product"))?;
        let id = match new.id {
            Some(id) if self.store.prices.find(&id).is_some() => {
                return Err(ApiError::invalid(format!("Price already exists: {id}"))
                    .coded("resource_already_exists")
                    .at("id"));
            }
            Some(id) => id,
            None => self.id("price_"),
        };
        Ok(self.create(Price {
            id,
            created: self.now,
            product: new.product,
            currency: new.currency.to_ascii_lowercase(),
            amount: new.amount,
            recurring: new.recurring,
            active: true,
            nickname: new.nickname,
            lookup_key: new.lookup_key,
            metadata: new.metadata,
        }))
    }

    pub(crate) fn change<T: crate::shapes::Shown>(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut T),
    ) -> Result<(), ApiError> {
        self.find::<T>(id)?;
        self.update(id, change);
        Ok(())
    }

    /// A card or bank account that belongs to nobody yet.
    pub(crate) fn create_payment_method(
        &mut self,
        card: Card,
        email: Option<String>,
        metadata: Metadata,
    ) -> String {
        let (id, created) = (self.id("pm_"), self.now);
        self.create(PaymentMethod {
            id,
            created,
            customer: None,
            email,
            metadata,
            card,
            authenticated: false,
        })
    }

    /// Makes a payment method the customer's. Stripe's ready-made ones (`pm_card_visa`) become a new one.
    pub(crate) fn attach(&mut self, method: &str, customer: &str) -> Result<String, ApiError> {
        let email = self.customer(customer)?.email.clone();
        let id = match Card::ready_made(method) {
            Some(card) => self.create_payment_method(card, email, Metadata::new()),
            None => method.to_owned(),
        };
        let kept = self.find::<PaymentMethod>(&id)?;
        match kept.customer.as_deref() {
            Some(owner) if owner == customer => return Ok(id),
            Some(_) => {
                let why = "This payment method is attached to another customer. Detach it there first.";
                return Err(ApiError::invalid(why).coded("payment_method_unexpected_state"));
            }
            None if kept.card.behaviour == Behaviour::Declines => {
                return Err(ApiError::card(&kept.card.decline()));
            }
            None => {}
        }
        self.touch::<PaymentMethod>(&id, |kept| kept.customer = Some(customer.to_owned()));
        self.tell::<PaymentMethod>("payment_method.attached", &id);
        Ok(id)
    }

    pub(crate) fn detach(&mut self, method: &str) -> Result<(), ApiError> {
        let owner = self.find::<PaymentMethod>(method)?.customer.clone();
        let mine = |held: &Option<String>| held.as_deref() == Some(method);
        if let Some(owner) = owner {
            self.update::<Customer>(&owner, |kept| {
                kept.payment_method = kept.payment_method.take().filter(|held| held != method);
            });
            let used: Vec<_> =
                self.store.subscriptions.iter().filter(|kept| mine(&kept.payment_method)).collect();
            let used: Vec<_> = used.into_iter().map(|kept| kept.id.clone()).collect();
            for id in used {
                self.update::<super::Subscription>(&id, |kept| kept.payment_method = None);
            }
        }
        self.update_as::<PaymentMethod>("payment_method.detached", method, |kept| kept.customer = None);
        Ok(())
    }

    /// The customer's card from now on, for everything she pays.
    pub(crate) fn set_card(&mut self, customer: &str, card: Card) -> Result<String, ApiError> {
        let email = self.customer(customer)?.email.clone();
        let method = self.create_payment_method(card, email, Metadata::new());
        self.attach(&method, customer)?;
        let theirs = self.store.subscriptions.iter().filter(|kept| kept.customer == customer);
        let theirs = theirs.filter(|kept| kept.payment_method.is_some() && !kept.status.is_over());
        let theirs: Vec<_> = theirs.map(|kept| kept.id.clone()).collect();
        for id in theirs {
            let method = method.clone();
            self.update::<super::Subscription>(&id, |kept| kept.payment_method = Some(method));
        }
        self.update_customer(
            customer,
            &CustomerChange { payment_method: Some(method.clone()), ..CustomerChange::default() },
        )?;
        Ok(method)
    }
}

fn describe(customer: &mut Customer, change: &CustomerChange) {
    set(&mut customer.email, change.email.as_ref());
    set(&mut customer.name, change.name.as_ref());
    set(&mut customer.phone, change.phone.as_ref());
    set(&mut customer.description, change.description.as_ref());
    merge(&mut customer.metadata, change.metadata.as_ref());
    if let Some(balance) = change.balance {
        customer.balance = balance;
    }
}
