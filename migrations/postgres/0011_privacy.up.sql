-- compatible: yes
-- What persons ask for: all that is kept about them, or that it goes.

alter table event add column erased_at bigint; -- When was it emptied for a person?

create table privacy_request (
    key bytea not null primary key check (length(key) = 16), -- Which is it (prv_..)?
    tenant text collate "C" not null references tenant (id) on delete cascade, -- Of whom is it asked?
    asked text collate "C" not null check (asked in ('export', 'erase')), -- What is asked for?
    kind text collate "C" not null check (kind in ('phone', 'email')), -- By what is the person known?
    person bytea not null check (length(person) = 32), -- Which person (keyed hash)?
    standing text collate "C" not null check (standing in ('running', 'done')), -- Where does it stand?
    progress text not null,                    -- How far did it come (a JSON object)?
    turn bigint not null check (turn >= 0),    -- How many steps were written? It fences each.
    due_at bigint not null,                    -- When is the next step due?
    created_at bigint not null,                -- When was it asked?
    updated_at bigint not null,                -- When was its last step written?
    actor text not null                        -- Who asked?
);
-- Which are a tenant's newest?
create index privacy_request_tenant on privacy_request (tenant, key);
-- Which have a step due?
create index privacy_request_due on privacy_request (due_at) where standing = 'running';

create table privacy_piece (
    request bytea not null references privacy_request (key) on delete cascade, -- Of which export?
    number bigint not null check (number >= 0), -- Which part of it?
    tenant text collate "C" not null,          -- Whose is it?
    sealed bytea not null,                     -- What is it, sealed by the tenant's key?
    primary key (request, number)
);

do $$
declare the_table text;
begin
    foreach the_table in array array['privacy_request', 'privacy_piece'] loop
        execute format('alter table %I enable row level security', the_table);
        execute format('alter table %I force row level security', the_table);
        execute format('create policy hub on %I to switchyard_hub using (true)', the_table);
        execute format('create policy tenant on %I to switchyard_tenant '
            'using (tenant = current_setting(''switchyard.tenant'', true))', the_table);
        execute format('grant select, insert, update, delete on %I to switchyard_hub, switchyard_tenant', the_table);
    end loop;
end $$;
