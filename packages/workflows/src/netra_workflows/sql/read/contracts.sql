select
    record, told(ContractId) as contract, told(ContractCommitmentId) as commitment,
    told(ContractCommitmentType) as kind, amount(told(ContractCommitmentCost)) as cost,
    coalesce(told(BillingCurrency), 'XXX') as currency, instant(told(ContractCommitmentPeriodStart)) as started,
    instant(told(ContractCommitmentPeriodEnd)) as ended,
    case
        when told(ContractId) is null then 'ContractId is missing'
        when told(ContractCommitmentId) is null then 'ContractCommitmentId is missing'
        when told(ContractCommitmentCost) is not null and amount(told(ContractCommitmentCost)) is null
            then 'ContractCommitmentCost is no number'
        when told(ContractCommitmentPeriodStart) is not null and instant(told(ContractCommitmentPeriodStart)) is null
            then 'ContractCommitmentPeriodStart is no date'
        when told(ContractCommitmentPeriodEnd) is not null and instant(told(ContractCommitmentPeriodEnd)) is null
            then 'ContractCommitmentPeriodEnd is no date'
    end as fault
from raw
