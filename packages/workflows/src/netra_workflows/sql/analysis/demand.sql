-- Use by the hour that was paid on demand, of machines that no cheaper rule doubts.
select
    meter.provider, claim.currency, coalesce(claim.region, '') as region, claim.meter_id,
    claim.day, extract(hour from claim.started) as hour,
    max(case when claim.ended > claim.started + interval '1' hour then 24 else 1 end) as span,
    cast(sum(claim.quantity) as double) as quantity, cast(sum(claim.billed) as double) as billed
from claim
join meter on claim.meter_id = meter.meter_id
join machine on claim.meter_id = machine.meter_id
where
    claim.precedence > 50 and claim.quantity > 0 and claim.billed > 0
    and claim.ended <= claim.started + interval '1' day
group by meter.provider, claim.currency, coalesce(claim.region, ''), claim.meter_id, claim.day, extract(hour from claim.started)
