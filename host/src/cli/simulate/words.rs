//! The words of `simulate`: what customers do, and what goes wrong.

use clap::{Args, Subcommand, ValueEnum};
use url::Url;

/// Arguments of `simulate`.
#[derive(Args)]
pub struct SimulateArgs {
    /// The simulator's address; else SWITCHYARD_SIM_<NAME>, SWITCHYARD_SIM_URL, or what a `switchyard dev` in this folder
    /// has written down
    #[arg(long, global = true, value_name = "URL")]
    pub sim_url: Option<Url>,
    /// The simulator.
    #[command(subcommand)]
    pub provider: ProviderCommand,
}

/// A simulator, and what it should do.
#[derive(Subcommand)]
pub enum ProviderCommand {
    /// The telephone network
    #[command(subcommand)]
    Twilio(TwilioCommand),
    /// Accounting at Billy
    #[command(subcommand)]
    Billy(BillyCommand),
    /// Google's tokens and keys
    #[command(subcommand)]
    Google(AnyCommand),
    /// A mailbox and its push messages
    #[command(subcommand)]
    Gmail(GmailCommand),
    /// Calendars and their push messages
    #[command(subcommand)]
    Calendar(AnyCommand),
    /// Accounting at QuickBooks
    #[command(subcommand)]
    Quickbooks(QuickbooksCommand),
    /// Subscriptions and card payments
    #[command(subcommand)]
    Stripe(StripeCommand),
}

/// What the mailbox should do.
#[derive(Subcommand)]
pub enum GmailCommand {
    /// A message arrives
    Mail {
        /// Who wrote it
        #[arg(long)]
        from: String,
        /// What it is about
        #[arg(long)]
        subject: String,
        /// The text
        #[arg(long, default_value = "")]
        text: String,
    },
    /// What every simulator can.
    #[command(flatten)]
    Any(AnyCommand),
}

/// What the company in QuickBooks should do.
#[derive(Subcommand)]
pub enum QuickbooksCommand {
    /// The customer pays an invoice
    Pay {
        /// The invoice's id at the simulator
        #[arg(long)]
        invoice: String,
        /// An amount such as 125.00; all that is open when not given
        #[arg(long)]
        amount: Option<String>,
    },
    /// What every simulator can.
    #[command(flatten)]
    Any(AnyCommand),
}

/// What Stripe's customers should do.
#[derive(Subcommand)]
pub enum StripeCommand {
    /// A customer subscribes
    Subscribe {
        /// The customer, cus_...
        #[arg(long)]
        customer: String,
        /// The subscription's status
        #[arg(long, default_value = "active")]
        status: String,
    },
    /// What every simulator can.
    #[command(flatten)]
    Any(AnyCommand),
}

/// What the telephone network should do.
#[derive(Subcommand)]
pub enum TwilioCommand {
    /// A person sends an SMS
    Sms {
        /// The person's number
        #[arg(long)]
        from: String,
        /// The number it is sent to
        #[arg(long)]
        to: String,
        /// The text
        #[arg(long)]
        body: String,
    },
    /// A person calls, and the call is carried to its end
    Call {
        /// The person's number
        #[arg(long)]
        from: String,
        /// The number that is called
        #[arg(long)]
        to: String,
    },
    /// The last webhook is sent again, or that of one message
    Replay {
        /// The message, SM...
        #[arg(long)]
        message_sid: Option<String>,
    },
    /// What every simulator can.
    #[command(flatten)]
    Any(AnyCommand),
}

/// What the accounting system should do.
#[derive(Subcommand)]
pub enum BillyCommand {
    /// The customer pays an invoice
    Pay {
        /// The invoice's id at the simulator
        #[arg(long)]
        invoice: String,
        /// Kroner, such as 125.00; all that is open when not given
        #[arg(long)]
        amount: Option<String>,
    },
    /// What every simulator can.
    #[command(flatten)]
    Any(AnyCommand),
}

/// What every simulator can: go wrong in a named way, a number of times, and say how it is.
#[derive(Subcommand)]
pub enum AnyCommand {
    /// Requests are answered with an error; with 429 as too many
    Fail(FailArgs),
    /// Requests wait before they are looked at
    Slow {
        /// When.
        #[command(flatten)]
        when: When,
        /// Milliseconds, not scaled by the time factor
        #[arg(long, default_value_t = 5_000)]
        ms: u64,
    },
    /// Requests are carried out, and the connection ends without an answer
    DropAnswerAfterCommit(When),
    /// Requests are not carried out, and the connection ends without an answer
    DropRequest(When),
    /// Requests are carried out, and the connection is reset
    Reset(When),
    /// Requests are carried out, and their answers withheld until `release`
    Hang(When),
    /// Requests are carried out, and answered with a body that is not to be trusted
    Spoil {
        /// When.
        #[command(flatten)]
        when: When,
        /// What the body looks like
        #[arg(long, value_enum)]
        body: Body,
    },
    /// The credential of the next request ends, and the request is refused for it
    ExpireToken(When),
    /// Requests are refused as if their credential were wrong
    WrongToken(When),
    /// Webhooks are sent twice
    Duplicate(When),
    /// Webhooks are sent in another order than things happened
    Reorder(When),
    /// Webhooks leave later
    Delay {
        /// When.
        #[command(flatten)]
        when: When,
        /// Milliseconds of the provider's time, so the time factor applies
        #[arg(long, default_value_t = 60_000)]
        ms: u64,
    },
    /// Webhooks carry a signature made with another key
    WrongSignature(When),
    /// List what is still to go wrong
    Faults,
    /// Nothing more goes wrong
    Clear,
    /// Withheld answers leave
    Release,
    /// How often each operation was received and carried out
    Counts,
    /// The provider's clock becomes wrong, or right again with 0
    Clock {
        /// By how much, in milliseconds; negative is slow
        #[arg(long, allow_negative_numbers = true)]
        offset_ms: i64,
    },
    /// Anything else the simulator knows
    Control {
        /// The action, as the simulator names it
        action: String,
        /// Its arguments as a JSON object; without them the action is only read
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
}

/// Which requests or webhooks, and how often.
#[derive(Args, Clone, Debug)]
pub struct When {
    /// How often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub times: u32,
    /// Only this operation, such as invoices.create or invoices.*; `counts` shows names
    #[arg(long, default_value = "*")]
    pub operation: String,
}

/// Arguments of `fail`.
#[derive(Args, Clone, Debug)]
pub struct FailArgs {
    /// When.
    #[command(flatten)]
    pub when: When,
    /// The status
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(400..=599))]
    pub status: u16,
    /// Carry the request out all the same
    #[arg(long)]
    pub after: bool,
    /// Seconds in Retry-After, with 429
    #[arg(long, value_name = "SECONDS")]
    pub retry_after: Option<u32>,
    /// What the body looks like
    #[arg(long, value_enum, default_value_t = Body::Provider)]
    pub body: Body,
}

/// The body of an injected answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Body {
    /// The provider's own document
    Provider,
    /// A page of HTML
    Html,
    /// A line of log before the provider's document
    LogLineThenProvider,
    /// Nothing
    Empty,
    /// The first half of the document
    Truncated,
    /// Every value of another type
    WrongTypes,
    /// `{}`
    EmptyObject,
    /// 10 MiB
    Huge,
    /// One byte every quarter of a second
    Drip,
}
