-- Most events carry an id that the hub made of their key, and many a correlation id that is their key: those are found by
-- the key, and an index of them would only cost each accepted event a write. The condition of a query must be the
-- index's own, letter by letter.
drop index event_id;
-- Was this id of a sender's used before?
create unique index event_id on event (tenant, id) where id <> 'evt_' || lower(hex(key));
drop index event_correlation;
-- What else came from the same cause?
create index event_correlation on event (tenant, correlation_id) where correlation_id <> lower(hex(key));

-- An event that goes takes its rows of the person index along, so it says itself whom it names.
alter table event add column persons blob;    -- Which persons does it name (keyed hashes of 32 bytes, one after the other)?
update event set persons = unhex((select group_concat(hex(p.hash), '') from person_index p where p.event = event.key))
    where key in (select event from person_index);
drop index person_event;
