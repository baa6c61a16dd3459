-- Most events carry an id that the hub made of their key, and many a correlation id that is their key: those are found by
-- the key, and an index of them would only cost each accepted event a write. The condition of a query must be the
-- index's own, letter by letter.
drop index event_correlation;
-- What else came from the same cause?
create index event_correlation on event (tenant, correlation_id) where correlation_id <> encode(key, 'hex');

-- An id that a sender gave must be unique over all days, which an index of a partitioned table cannot promise.
create table event_name (
    tenant text collate "C" not null,          -- Whose event is it?
    id text collate "C" not null,              -- Which id did its sender give it?
    key bytea not null check (length(key) = 16), -- Which event is it inside?
    primary key (tenant, id)
);
-- Which names go with the events of a day?
create index event_name_key on event_name (key);

-- An event that goes takes its rows of the person index along, so it says itself whom it names.
alter table event add column persons bytea;    -- Which persons does it name (keyed hashes of 32 bytes, one after the other)?

do $$
declare the_table text;
begin
    foreach the_table in array array['event_name'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
