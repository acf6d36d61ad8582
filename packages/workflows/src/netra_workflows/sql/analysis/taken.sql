-- The claim that counts: a rule's, else the commitment plan's, else that nobody owns the row.
select
    claim.source_id, claim.record, meter.provider,
    case when claim.precedence < 50 or planned.meter_id is null then claim.account else 'all' end as account,
    claim.currency, claim.resource, claim.billed, claim.unused, claim.rate,
    case
        when claim.precedence < 50 then claim.precedence
        when planned.meter_id is not null then 50
        else 70
    end as precedence
from claim
join meter on claim.meter_id = meter.meter_id
left join planned
    on
        claim.meter_id = planned.meter_id and claim.currency = planned.currency
        and coalesce(claim.region, '') = planned.region
where claim.precedence < 50 or planned.meter_id is not null or claim.tagged = false
