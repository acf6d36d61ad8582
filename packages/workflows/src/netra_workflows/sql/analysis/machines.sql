-- Meters of machines by the hour that a commitment could cover.
select meter_id
from meter
where
    pricing = 'Standard' and lower(unit) in ('hours', 'hrs', 'hour', '1 hour')
    and (
        (
            provider = 'AWS' and service in ('Amazon Elastic Compute Cloud', 'AmazonEC2')
            and instance_type not like 'db.%' and instance_type not like 'cache.%'
        )
        or (provider in ('Microsoft', 'Microsoft Azure') and service = 'Virtual Machines')
        or (provider = 'Google Cloud' and service = 'Compute Engine' and description like '%Core%')
    )
