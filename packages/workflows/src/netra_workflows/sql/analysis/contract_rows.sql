-- The rows that count for each commitment of a contract.
select link.commitment, charge.currency, link.source_id, array_agg(link.record) as records
from link
join charge on link.source_id = charge.source_id and link.record = charge.record
where charge.category in ('Usage', 'Purchase')
group by link.commitment, charge.currency, link.source_id
