-- Use by the hour that was paid on demand, of machines that no cheaper rule doubts.
select
    meter.provider, claim.currency, coalesce(claim.region, '') as region, claim.meter_id,
    claim.day, extract(hour from claim.started) as hour,
    max(case when claim.ended > claim.started + interval '1' hour then 24 else 1 end) as span,
    cast(sum(claim.quantity) as double) as quantity, cast(sum(claim.billed) as double) as billed
from claim
join meter on claim.meter_id = meter.meter_id
where
    claim.precedence > 50 and claim.quantity > 0 and claim.billed > 0 and meter.pricing = 'Standard'
    and lower(meter.unit) in ('hours', 'hrs', 'hour', '1 hour')
    and claim.ended <= claim.started + interval '1' day
    and (
        (
            meter.provider = 'AWS' and meter.instance_type not like 'db.%' and meter.instance_type not like 'cache.%'
            and meter.service in ('Amazon Elastic Compute Cloud', 'AmazonEC2')
        )
        or (meter.provider in ('Microsoft', 'Microsoft Azure') and meter.service = 'Virtual Machines')
        or (meter.provider = 'Google Cloud' and meter.service = 'Compute Engine' and meter.description like '%Core%')
    )
group by meter.provider, claim.currency, coalesce(claim.region, ''), claim.meter_id, claim.day, extract(hour from claim.started)
