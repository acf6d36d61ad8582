select
    record, ContractId as contract, ContractCommitmentId as commitment,
    ContractCommitmentType as kind, amount(ContractCommitmentCost) as cost,
    coalesce(BillingCurrency, 'XXX') as currency, instant(ContractCommitmentPeriodStart) as started,
    instant(ContractCommitmentPeriodEnd) as ended,
    case
        when ContractId is null then 'ContractId is missing'
        when ContractCommitmentId is null then 'ContractCommitmentId is missing'
        when ContractCommitmentCost is not null and amount(ContractCommitmentCost) is null
            then 'ContractCommitmentCost is no number'
        when ContractCommitmentPeriodStart is not null and instant(ContractCommitmentPeriodStart) is null
            then 'ContractCommitmentPeriodStart is no date'
        when ContractCommitmentPeriodEnd is not null and instant(ContractCommitmentPeriodEnd) is null
            then 'ContractCommitmentPeriodEnd is no date'
    end as fault
from raw
