-- A bill names a resource in full, by its id, or by what follows the last slash of either.
insert into idle_claim
with named as (select resource, split_part(resource, '/', -1) as last from shown)
select distinct charge.meter_id, charge.account, charge.currency, charge.resource, rule.precedence, rule.rate
from charge
join rule on rule.id = 'idle_resource'
where
    (
        lower(charge.resource) in (select resource from named)
        or split_part(lower(charge.resource), '/', -1) in (select resource from named)
        or lower(charge.resource) in (select last from named)
    )
    and not exists (
        select 1 from idle_claim
        where
            idle_claim.meter_id = charge.meter_id and idle_claim.account = charge.account
            and idle_claim.currency = charge.currency and idle_claim.resource = charge.resource
    )
