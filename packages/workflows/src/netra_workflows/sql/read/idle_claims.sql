-- A bill names a resource in full, by its id, or by what follows the last slash of either.
create or replace temp table idle_claim as
select meter_id, account, currency, resource, min(precedence) as precedence, max(rate) as rate
from (
    select meter_role.meter_id, idle.account, idle.currency, idle.resource, idle.precedence, idle.rate
    from idle join meter_role using (precedence)
    where there
    union all
    select distinct charge.meter_id, charge.account, charge.currency, charge.resource, rule.precedence, rule.rate
    from charge
    join rule on rule.id = 'idle_resource'
    where
        charge.resource is not null
        and exists (
            select 1 from shown
            where
                lower(charge.resource) = shown.resource
                or split_part(lower(charge.resource), '/', -1) = shown.resource
                or lower(charge.resource) = split_part(shown.resource, '/', -1)
        )
) as claims
group by meter_id, account, currency, resource
