//! Decodes rows column by column, in the order of the `select`.

use std::{str::FromStr, sync::Arc};

use serde::de::DeserializeOwned;
use sqlx::{Decode, Postgres, Row as _, Type, TypeInfo as _, ValueRef as _, postgres::PgRow};

use crate::{
    clock::Timestamp,
    event::{Event, EventType, Target, TenantId, Urgency},
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        reason::{Failure, ReasonClass},
        state::State,
    },
    store::{StoreError, StoreResult},
};

/// The columns of one row, taken from left to right.
pub(super) struct Fields<'r> {
    row: &'r PgRow,
    at: usize,
}

impl<'r> Fields<'r> {
    pub(super) const fn of(row: &'r PgRow) -> Self {
        Self { row, at: 0 }
    }

    fn take<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> StoreResult<T> {
        let at = self.at;
        self.at += 1;
        Ok(self.row.try_get(at)?)
    }

    pub(super) fn int(&mut self) -> StoreResult<i64> {
        self.opt_int()?.ok_or_else(|| inconsistent("number"))
    }

    fn opt_int(&mut self) -> StoreResult<Option<i64>> {
        let value = self.row.try_get_raw(self.at)?;
        let (is, width) = (value.type_info(), self.at);
        if value.is_null() {
            self.at += 1;
            return Ok(None);
        }
        match is.name() {
            "INT2" => Ok(Some(i64::from(self.take::<i16>()?))),
            "INT4" => Ok(Some(i64::from(self.take::<i32>()?))),
            "INT8" => Ok(Some(self.take()?)),
            _ => Err(inconsistent(&format!("number in column {width}"))),
        }
    }

    /// A count or number that must fit `T`.
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> StoreResult<T> {
        T::try_from(self.int()?).map_err(|_| inconsistent("number"))
    }

    pub(super) fn opt_number<T: TryFrom<i64>>(&mut self) -> StoreResult<Option<T>> {
        self.opt_int()?.map(|number| T::try_from(number).map_err(|_| inconsistent("number"))).transpose()
    }

    /// A boolean, or a number that is 0 or not.
    pub(super) fn flag(&mut self) -> StoreResult<bool> {
        if self.row.try_get_raw(self.at)?.type_info().name() == "BOOL" { self.take() } else { Ok(self.int()? != 0) }
    }

    pub(super) fn time(&mut self) -> StoreResult<Timestamp> {
        Ok(Timestamp(self.int()?))
    }

    pub(super) fn opt_time(&mut self) -> StoreResult<Option<Timestamp>> {
        Ok(self.opt_int()?.map(Timestamp))
    }

    pub(super) fn str(&mut self) -> StoreResult<&'r str> {
        self.take()
    }

    pub(super) fn text(&mut self) -> StoreResult<String> {
        self.take()
    }

    pub(super) fn shared(&mut self) -> StoreResult<Arc<str>> {
        Ok(self.str()?.into())
    }

    pub(super) fn opt_text(&mut self) -> StoreResult<Option<String>> {
        self.take()
    }

    pub(super) fn opt_shared(&mut self) -> StoreResult<Option<Arc<str>>> {
        Ok(self.take::<Option<&str>>()?.map(Arc::from))
    }

    pub(super) fn bytes(&mut self) -> StoreResult<Vec<u8>> {
        self.take()
    }

    pub(super) fn opt_bytes(&mut self) -> StoreResult<Option<Vec<u8>>> {
        self.take()
    }

    /// Exactly `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> StoreResult<[u8; N]> {
        self.take::<&[u8]>()?.try_into().map_err(|_| inconsistent("key or hash"))
    }

    pub(super) fn key(&mut self) -> StoreResult<Key> {
        self.array().map(Key)
    }

    pub(super) fn opt_key(&mut self) -> StoreResult<Option<Key>> {
        let bytes: Option<&[u8]> = self.take()?;
        bytes.map(|bytes| bytes.try_into().map(Key).map_err(|_| inconsistent("key"))).transpose()
    }

    pub(super) fn lane_key(&mut self) -> StoreResult<LaneKey> {
        self.array().map(LaneKey)
    }

    /// Whose an inbound request is: a tenant's, or an app's.
    pub(super) fn owner(&mut self) -> StoreResult<TenantId> {
        TenantId::stored(self.str()?).ok_or_else(|| inconsistent("owner"))
    }

    /// A text that one of our types parses.
    pub(super) fn parsed<T: FromStr>(&mut self) -> StoreResult<T> {
        self.str()?.parse().map_err(|_| inconsistent("word"))
    }

    /// A text that holds JSON of ours.
    pub(super) fn json<T: DeserializeOwned>(&mut self) -> StoreResult<T> {
        serde_json::from_str(self.str()?).map_err(|_| inconsistent("JSON"))
    }

    pub(super) fn opt_json<T: DeserializeOwned>(&mut self) -> StoreResult<Option<T>> {
        let text: Option<&str> = self.take()?;
        text.map(|text| serde_json::from_str(text).map_err(|_| inconsistent("JSON"))).transpose()
    }

    /// A word of one of our lower-case serde enums.
    pub(super) fn word<T: DeserializeOwned>(&mut self) -> StoreResult<T> {
        serde_json::from_value(serde_json::Value::from(self.str()?)).map_err(|_| inconsistent("word"))
    }

    pub(super) fn state(&mut self) -> StoreResult<State> {
        State::from_code(self.int()?).ok_or_else(|| inconsistent("state"))
    }

    /// Three columns: tenant, target, shard.
    pub(super) fn lane(&mut self) -> StoreResult<Lane> {
        let tenant: TenantId = self.parsed()?;
        let target: Target = self.parsed()?;
        let urgency = if self.flag()? { Urgency::Emergency } else { Urgency::Normal };
        Ok(Lane { tenant, target, urgency })
    }

    /// Three columns: reason, code, message; all null if there was none.
    pub(super) fn failure(&mut self) -> StoreResult<Option<Failure>> {
        let (reason, code, message): (Option<&str>, _, _) = (self.take()?, self.opt_text()?, self.opt_text()?);
        let Some(reason) = reason else { return Ok(None) };
        let reason: ReasonClass = reason.parse().map_err(|_| inconsistent("reason"))?;
        Ok(Some(Failure { reason, code: code.unwrap_or_default(), message: message.unwrap_or_default() }))
    }

    /// The columns of `event_columns!`.
    pub(super) fn event(&mut self) -> StoreResult<Event> {
        Ok(Event {
            key: self.key()?,
            id: self.shared()?,
            tenant: self.parsed()?,
            event_type: self.parsed::<EventType>()?,
            source: self.shared()?,
            subject: self.opt_text()?,
            time: self.time()?,
            accepted_at: self.time()?,
            ordering_key: self.opt_text()?,
            correlation_id: self.shared()?,
            traceparent: self.shared()?,
            cause: self.opt_key()?,
            request: self.opt_key()?,
            hop: self.number()?,
            urgency: if self.flag()? { Urgency::Emergency } else { Urgency::Normal },
            expires_at: self.opt_time()?,
            private_to: self.opt_text()?,
            extensions: self.opt_text()?,
            data: self.shared()?,
        })
    }
}

/// What a stored value is not.
pub(super) fn inconsistent(what: &str) -> StoreError {
    StoreError::Inconsistent(format!("a stored {what} cannot be read"))
}

/// The columns of an event in the order of [`Fields::event`], of the table called `e`.
macro_rules! event_columns {
    () => {
        "e.key, e.id, e.tenant, e.type, e.source, e.subject, e.time, e.accepted_at, e.ordering_key, e.correlation_id, \
         e.traceparent, e.cause, e.request, e.hop, e.urgency, e.expires_at, e.private_to, e.extensions, e.data"
    };
}
pub(super) use event_columns;

/// That an event of the table called `e` has a correlation id that is not its key. The index holds no others.
macro_rules! given_correlation {
    () => {
        "e.correlation_id <> encode(e.key, 'hex')"
    };
}
pub(super) use given_correlation;
