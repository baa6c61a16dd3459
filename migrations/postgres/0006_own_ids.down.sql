alter table event drop column persons;
drop table event_name;
drop index event_correlation;
create index event_correlation on event (tenant, correlation_id);
