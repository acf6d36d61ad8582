-- A bill names a resource in full, by its id, or by what follows the last slash of either.
insert into idle_claim
select distinct charge.meter_id, charge.account, charge.currency, charge.resource, rule.precedence, rule.rate
from charge
join rule on rule.id = 'idle_resource'
where
    exists (
        select 1 from shown
        where
            lower(charge.resource) = shown.resource
            or split_part(lower(charge.resource), '/', -1) = shown.resource
            or lower(charge.resource) = split_part(shown.resource, '/', -1)
    )
    and not exists (
        select 1 from idle_claim
        where
            idle_claim.meter_id = charge.meter_id and idle_claim.account = charge.account
            and idle_claim.currency = charge.currency and idle_claim.resource = charge.resource
    )
