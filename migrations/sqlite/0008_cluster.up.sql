-- A file has one process, which owns all lanes and sees each change as it makes it: nothing to keep of other nodes.
select 1;
