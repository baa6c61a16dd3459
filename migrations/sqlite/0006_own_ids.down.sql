create index person_event on person_index (event);
alter table event drop column persons;
drop index event_correlation;
create index event_correlation on event (tenant, correlation_id);
drop index event_id;
create unique index event_id on event (tenant, id);
