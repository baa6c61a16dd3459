//! The life of an outgoing message after its creation, and the status callbacks that tell of it.

use std::sync::Arc;

use super::{
    account::Account,
    messages::{Message, MessageStatus},
    webhook::{self, Forgery, Webhook},
};
use crate::clock::format_utc;

/// The name of status callbacks as an operation of faults.
pub(crate) const OPERATION: &str = "webhook.status";

/// Lets the message go its way in the background until the simulator stops.
pub(crate) fn start(account: &Arc<Account>, sid: String) {
    let account = Arc::clone(account);
    tokio::spawn(async move {
        let shutdown = account.shutdown.clone();
        shutdown.run_until_cancelled(progress(&account, &sid)).await;
    });
}

/// Queued is the initial status, of which no callback tells.
async fn progress(account: &Account, sid: &str) {
    let shuffled = account.faults.take_out_of_order(OPERATION);
    let mut late = Vec::new();
    for step in [MessageStatus::Sending, MessageStatus::Sent, MessageStatus::Delivered] {
        tokio::time::sleep(account.options.time_factor.scale(account.options.status_step)).await;
        // Withdrawn or deleted meanwhile: nothing more happens to it.
        let Some(message) = advance(account, sid, step) else { return };
        if shuffled {
            late.push(message);
        } else {
            tell(account, &message).await;
        }
    }
    account.ids.disorder(&mut late);
    for message in &late {
        tell(account, message).await;
    }
}

fn advance(account: &Account, sid: &str, step: MessageStatus) -> Option<Message> {
    let now = account.clock.now_ms();
    account.change(|state| {
        let to = state.message_mut(sid)?.to.clone();
        let unreachable = state.unreachable.get(&to).copied().filter(|_| step == MessageStatus::Delivered);
        let message = state.message_mut(sid).filter(|message| message.status != MessageStatus::Canceled)?;
        message.status = if unreachable.is_some() { MessageStatus::Undelivered } else { step };
        message.error_code = unreachable;
        message.updated_ms = now;
        if step == MessageStatus::Sending {
            message.sent_ms = Some(now);
        }
        Some(message.clone())
    })
}

async fn tell(account: &Account, message: &Message) {
    let Some(url) = message.status_callback.as_deref() else { return };
    let plan = account.faults.take_webhook(OPERATION);
    if !plan.delay.is_zero() {
        tokio::time::sleep(account.options.time_factor.scale(plan.delay)).await;
    }
    let signing = account.read(|state| state.signing.clone());
    for _ in 0..if plan.duplicate { 2 } else { 1 } {
        let hook = Webhook {
            message_sid: &message.sid,
            about: message.status.name(),
            url,
            fallback_url: None,
            params: parameters(account, message),
            signing: &signing,
            forgery: if plan.wrong_signature { Forgery::WrongKey } else { Forgery::None },
        };
        webhook::send(account, hook).await;
    }
}

fn parameters(account: &Account, message: &Message) -> Vec<(String, String)> {
    let status = message.status.name();
    let mut params = vec![
        ("SmsSid", message.sid.clone()),
        ("SmsStatus", status.to_owned()),
        ("MessageStatus", status.to_owned()),
        ("To", message.to.clone()),
        ("MessageSid", message.sid.clone()),
        ("AccountSid", account.options.account_sid.clone()),
        ("From", message.from.clone()),
        ("ApiVersion", "2010-04-01".to_owned()),
    ];
    if let Some(service) = &message.messaging_service_sid {
        params.push(("MessagingServiceSid", service.clone()));
    }
    if let Some(code) = message.error_code {
        params.push(("ErrorCode", code.to_string()));
    }
    if matches!(message.status, MessageStatus::Delivered | MessageStatus::Undelivered) {
        params.push(("RawDlrDoneDate", format_utc(message.updated_ms, "%y%m%d%H%M")));
    }
    params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
