create or replace temp table idle_claim as
select
    meter_role.meter_id, idle.account, idle.currency, idle.resource, min(idle.precedence) as precedence,
    max(idle.rate) as rate
from idle join meter_role using (precedence)
where there
group by meter_role.meter_id, idle.account, idle.currency, idle.resource
