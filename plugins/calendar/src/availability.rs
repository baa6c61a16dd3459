use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::by_key;

use crate::busy::{Answer, taken};
use crate::catalogue::FOUND;
use crate::command::{Asked, bad, calendar, moment};
use crate::config::{Config, Rules};
use crate::slots;
use crate::time::{Span, rfc3339};

/// A calendar that did not say when it is busy, and why.
type Silent = (String, String);

/// The longest window that is looked at, which is also what free-busy answers for.
const LONGEST_DAYS: i64 = 62;

/// Slots that are answered when the query does not say.
const SLOTS: u16 = 50;

/// The data of `availability.query`.
#[derive(Clone, Debug, Deserialize)]
pub struct Query {
    #[serde(default)]
    calendar_id: Option<String>,
    #[serde(default)]
    calendar_ids: Vec<String>,
    from: String,
    to: String,
    #[serde(default)]
    duration_minutes: Option<u16>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    travel_buffer_minutes: Option<u16>,
    #[serde(default)]
    slot_step_minutes: Option<u16>,
    #[serde(default)]
    max_slots: Option<u16>,
}

/// A slot with the calendars that are free then.
struct Offer {
    span: Span,
    calendars: Vec<String>,
}

/// Answers when there is time, with the command's id as subject.
pub fn query(ctx: &Ctx<Config>, asked: &Event) -> Result<Output, PluginError> {
    let query: Query = asked.parse()?;
    let rules = ctx.config.rules()?;
    let times = Asked {
        duration_minutes: query.duration_minutes,
        service: query.service.as_deref(),
        time_zone: query.time_zone.as_deref(),
        ..Asked::default()
    };
    let zone = times.zone(&rules)?;
    let length = times.length(&ctx.config)?.unwrap_or(i64::from(ctx.config.default_duration_minutes) * 60);
    let wanted =
        Span::new(moment("from", &query.from, zone)?.begins(zone), moment("to", &query.to, zone)?.begins(zone));
    if wanted.end <= wanted.start || wanted.end - wanted.start > LONGEST_DAYS * 86_400 {
        return Err(bad("to", "`to` must be after `from`, by 62 days at most."));
    }
    let calendars = query.calendars(&ctx.config)?;
    let now = i64::try_from(ctx.now() / 1_000).unwrap_or(0);
    let earliest = now + i64::from(ctx.config.notice_minutes) * 60;
    let horizon = now + i64::from(ctx.config.horizon_days) * 86_400;
    let window = wanted.common(Span::new(earliest, horizon));
    let (offers, silent) = match window {
        Some(window) => query.offers(ctx, &rules, &calendars, window, length, earliest)?,
        None => (Vec::new(), Vec::new()),
    };
    let show = |at: i64| rfc3339(at, zone);
    let slots: Vec<Value> = offers
        .iter()
        .map(|offer| json!({ "start": show(offer.span.start), "end": show(offer.span.end), "calendar_ids": offer.calendars }))
        .collect();
    let errors: Vec<Value> =
        silent.iter().map(|(calendar, reason)| json!({ "calendar_id": calendar, "reason": reason })).collect();
    let data = json!({
        "query_id": asked.id, "from": show(wanted.start), "to": show(wanted.end), "time_zone": zone.name(),
        "duration_minutes": length / 60, "slots": slots, "errors": errors,
    });
    Ok(Emit::new(FOUND, data).subject(&asked.id).dedupe(format!("gcal:availability:{}", asked.id)).into())
}

impl Query {
    fn calendars(&self, config: &Config) -> Result<Vec<String>, PluginError> {
        if self.calendar_ids.is_empty() {
            return Ok(vec![calendar(config, self.calendar_id.as_deref())?.to_owned()]);
        }
        let mut all: Vec<String> = Vec::new();
        for id in &self.calendar_ids {
            let id = calendar(config, Some(id))?.to_owned();
            if !all.contains(&id) {
                all.push(id);
            }
        }
        Ok(all)
    }

    /// What can be offered, and the calendars that did not say, which are then offered nothing.
    fn offers(
        &self,
        ctx: &Ctx<Config>,
        rules: &Rules,
        calendars: &[String],
        window: Span,
        length: i64,
        earliest: i64,
    ) -> Result<(Vec<Offer>, Vec<Silent>), PluginError> {
        let buffer = i64::from(self.travel_buffer_minutes.unwrap_or(ctx.config.travel_buffer_minutes)) * 60;
        let step = i64::from(self.slot_step_minutes.unwrap_or(ctx.config.slot_step_minutes)) * 60;
        let most = usize::from(self.max_slots.unwrap_or(SLOTS));
        let mut asked: Vec<String> = Vec::new();
        for id in calendars.iter().flat_map(|id| ctx.config.sharing(id)) {
            if !asked.contains(&id) {
                asked.push(id);
            }
        }
        let busy =
            if asked.is_empty() { Default::default() } else { taken(ctx, rules, &asked, window.padded(buffer))? };
        // Steps are counted from the beginning of the hours, also where the window begins in the middle of them.
        let open: Vec<Span> = slots::open_hours(rules, window);
        let outside = [Span::new(0, window.start), Span::new(window.end, window.end + 400 * 86_400)];
        let mut offers: Vec<Offer> = Vec::new();
        let mut silent = Vec::new();
        for id in calendars {
            let mut kept = outside.to_vec();
            let mut trouble = None;
            for shared in ctx.config.sharing(id) {
                match busy.get(&shared) {
                    Some(Answer::Ok(all)) => {
                        kept.extend(all.iter().map(|one| one.kept(buffer, self.location.as_deref())))
                    }
                    Some(Answer::Err(reason)) => trouble = Some(reason.clone()),
                    None => trouble = Some("missing".to_owned()),
                }
            }
            if let Some(reason) = trouble {
                silent.push((id.clone(), reason));
                continue;
            }
            for span in slots::free(&open, &kept, length, step, earliest.max(window.start), most) {
                match offers.iter_mut().find(|offer| offer.span == span) {
                    Some(offer) => offer.calendars.push(id.clone()),
                    None => offers.push(Offer { span, calendars: vec![id.clone()] }),
                }
            }
        }
        by_key(&mut offers, |offer| offer.span);
        offers.truncate(most);
        Ok((offers, silent))
    }
}
