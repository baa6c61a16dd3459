//! A company in Billy: contacts, products with Danish VAT, invoices, and bank payments, behind the REST API.

mod answer;
mod company;
mod contacts;
mod draft;
mod errors;
mod invoice;
mod invoices;
mod money;
mod payment;
mod routes;

use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{company::Company, routes::Api};
pub use self::{
    invoice::InvoiceState,
    invoices::Mail,
    money::Ore,
    payment::{Paid, PayError},
};
use crate::{
    clock::{OffsetClock, SharedClock},
    faults::Faults,
    http,
    provider::Simulator,
};

/// Whether an answer about one record has it under its singular name, or in a list under its plural name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `{"invoice":{..}}`
    Singular,
    /// `{"invoices":[{..}]}`
    Plural,
}

/// How bodies carry moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `2026-11-20T13:31:25`
    T,
    /// `2026-11-20T13:31:25+00:00`
    TWithZone,
    /// `2026-11-20 13:31:25`
    Space,
}

/// Where the public documentation is silent or contradicted: a plugin must work with every combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The shape of answers to writes.
    pub write_shape: Shape,
    /// The shape of answers to reads of one record.
    pub read_shape: Shape,
    /// How moments are written.
    pub time_format: TimeFormat,
    /// Persons given with a new contact are dropped without a word.
    pub ignore_contact_persons: bool,
    /// `externalId` is stored and can be filtered by.
    pub external_id_sticks: bool,
    /// A booked credit note is taken off what is open of its invoice.
    pub credit_note_sets_off: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            write_shape: Shape::Plural,
            read_shape: Shape::Singular,
            time_format: TimeFormat::T,
            ignore_contact_persons: false,
            external_id_sticks: false,
            credit_note_sets_off: true,
        }
    }
}

/// How the simulated company is set up.
#[derive(Clone)]
pub struct Options {
    /// The access token.
    pub token: String,
    /// The unconfirmed parts.
    pub behaviour: Behaviour,
    /// Where stamps come from.
    pub clock: SharedClock,
    /// The same seed gives the same identifiers.
    pub seed: u64,
}

impl Options {
    /// A company with the documented behaviour.
    #[must_use]
    pub fn new(token: impl Into<String>, clock: SharedClock) -> Self {
        Self { token: token.into(), behaviour: Behaviour::default(), clock, seed: 2 }
    }
}

/// The simulator; see [`Billy::start`].
pub struct Billy;

impl Billy {
    /// Serves the company on `listener` until `shutdown`.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(listener: TcpListener, options: Options, shutdown: CancellationToken) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let clock = OffsetClock::new(Arc::clone(&options.clock));
        let company = Company::new(options, clock.clone());
        let simulator = Arc::new(Simulator::new(Api(company), Arc::new(Faults::default()), clock, address));
        http::serve(listener, Arc::clone(&simulator) as Arc<dyn http::Handler>, shutdown);
        Ok(Handle { simulator })
    }
}

/// An invoice as a test or the demo looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceView {
    /// Its id.
    pub id: String,
    /// Its number, once approved.
    pub number: Option<String>,
    /// Where it stands.
    pub state: InvoiceState,
    /// Whom it is for.
    pub contact_id: String,
    /// Net.
    pub amount: Ore,
    /// Tax.
    pub tax: Ore,
    /// What is open.
    pub balance: Ore,
    /// Whether it is approved and nothing is open.
    pub is_paid: bool,
    /// The text that carries the caller's reference.
    pub contact_message: Option<String>,
    /// How many lines it has.
    pub lines: usize,
    /// Whether Billy has mailed it.
    pub sent: bool,
    /// Of a credit note: what it credits.
    pub credits: Option<String>,
}

/// Steers a running simulator; clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    simulator: Arc<Simulator<Api>>,
}

impl Handle {
    crate::provider::steering! {
        /// `http://address`, without a slash at the end; stands for `https://api.billysbilling.com`, so paths begin `/v2`.
        base_url;
        /// The faults of this simulator.
        faults;
    }

    /// Changes the unconfirmed parts.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.company().books().behaviour = behaviour;
    }

    /// The company's id.
    #[must_use]
    pub fn organization_id(&self) -> &str {
        &self.company().fixed.organization
    }

    /// A product with 25 % VAT.
    #[must_use]
    pub fn product_id(&self) -> &str {
        &self.company().fixed.product
    }

    /// A product without VAT.
    #[must_use]
    pub fn tax_free_product_id(&self) -> &str {
        &self.company().fixed.free_product
    }

    /// An account that payments can go to.
    #[must_use]
    pub fn bank_account_id(&self) -> &str {
        &self.company().fixed.bank_account
    }

    /// All invoices, oldest first.
    #[must_use]
    pub fn invoices(&self) -> Vec<InvoiceView> {
        let view = |invoice: &invoice::Invoice| InvoiceView {
            id: invoice.id.clone(),
            number: invoice.number.clone(),
            state: invoice.state,
            contact_id: invoice.contact_id.clone(),
            amount: invoice.amount(),
            tax: invoice.tax(),
            balance: invoice.balance(),
            is_paid: invoice.is_paid(),
            contact_message: invoice.contact_message.clone(),
            lines: invoice.lines.len(),
            sent: invoice.sent,
            credits: invoice.credited_invoice_id.clone(),
        };
        self.company().books().invoices.iter().map(view).collect()
    }

    /// How many contacts there are.
    #[must_use]
    pub fn contact_count(&self) -> usize {
        self.company().books().contacts.len()
    }

    /// How many contacts have this name.
    #[must_use]
    pub fn contacts_named(&self, name: &str) -> usize {
        let books = self.company().books();
        books.contacts.iter().filter(|contact| company::text(contact, "name") == Some(name)).count()
    }

    /// The customer pays: this amount, or all that is open.
    ///
    /// # Errors
    ///
    /// When the invoice does not exist, is not approved, or has less open than that.
    pub fn pay(&self, invoice_id: &str, amount: Option<Ore>) -> Result<Paid, PayError> {
        payment::pay(self.company(), invoice_id, amount)
    }

    /// Somebody takes a payment back at Billy itself; whether there was one to take back.
    #[must_use]
    pub fn take_back(&self, payment_id: &str) -> bool {
        payment::take_back(self.company(), payment_id)
    }

    /// Every payment, oldest first: its id, its amount, and whether it was taken back.
    #[must_use]
    pub fn payments(&self) -> Vec<(String, Ore, bool)> {
        payment::views(self.company())
    }

    /// Every e-mail that was sent, oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.company().books().mails.clone()
    }

    /// Makes the tax of an invoice wrong by this much; whether there is such an invoice.
    #[must_use]
    pub fn distort(&self, invoice_id: &str, tax: Ore) -> bool {
        self.company().books().invoice_mut(invoice_id).map(|invoice| invoice.distortion = tax).is_ok()
    }

    fn company(&self) -> &Company {
        &self.simulator.provider.0
    }
}
