-- Which published rule doubts which meter, and what part of its cost the rule's act saves.
select meter.meter_id, rule.precedence, rule.rate
from meter join rule on rule.id = 'aws_idle_address'
where meter.provider = 'AWS' and lower(meter.description) like '%idle public ipv4 address%'
union all
select meter.meter_id, rule.precedence, rule.rate
from meter join rule on rule.id = 'gcp_idle_address'
where meter.provider = 'Google Cloud' and lower(meter.description) like 'static ip charge%'
union all
select meter.meter_id, rule.precedence, rule.rate
from meter join rule on rule.id = 'aws_extended_support'
where
    meter.provider = 'AWS' and lower(meter.description) like '%extended support%'
    and meter.service in ('Amazon Relational Database Service', 'AmazonRDS')
union all
select meter.meter_id, rule.precedence, rule.rate
from meter join rule on rule.id = 'aws_trails'
where
    meter.provider = 'AWS' and meter.service in ('AWS CloudTrail', 'AWSCloudTrail')
    and lower(meter.description) like '%paid event%'
union all
select meter.meter_id, rule.precedence, rule.rate
from meter join rule on rule.id = 'aws_gp2'
where
    meter.provider = 'AWS' and lower(meter.description) like '%(gp2) provisioned storage%'
    and meter.service in ('Amazon Elastic Compute Cloud', 'AmazonEC2', 'Amazon Elastic Block Store')
union all
select meter.meter_id, rule.precedence, rule.rate
from meter join rule on rule.id = 'azure_premium_snapshot'
where
    meter.provider in ('Microsoft', 'Microsoft Azure') and lower(meter.description) like '%premium%snapshot%'
union all
select meter.meter_id, rule.precedence, family.rate
from meter
join family on meter.instance_type like family.family || '.%'
join rule on rule.id = case when family.family like 'db.%' then 'aws_db_previous_generation' else 'aws_previous_generation' end
where
    meter.provider = 'AWS' and lower(meter.unit) in ('hours', 'hrs') and lower(meter.description) like '%instance%hour%'
    and (
        (family.family like 'db.%' and meter.service in ('Amazon Relational Database Service', 'AmazonRDS'))
        or (family.family not like 'db.%' and meter.service in ('Amazon Elastic Compute Cloud', 'AmazonEC2'))
    )
