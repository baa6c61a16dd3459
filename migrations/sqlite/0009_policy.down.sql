drop table reservation;
drop table usage;
drop table plan;
drop table consent_history;
drop table consent;
