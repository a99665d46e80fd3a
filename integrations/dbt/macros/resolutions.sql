{# The table `resolutions`, or one without rows: `docyard resolve` makes its folder. #}
{% macro resolutions() %}
    {%- set found = "_delta_log/*.json" if "://" in var("warehouse") else "*/*/*.parquet" -%}
    {%- set files = run_query("SELECT count(*) FROM glob('" ~ var("warehouse") ~ "/resolutions/" ~ found ~ "')") if execute -%}
    {%- if files and files.columns[0].values()[0] > 0 -%}
        {{ source("docyard", "resolutions") }}
    {%- else -%}
        (
            SELECT
                CAST(NULL AS VARCHAR) AS item_key,
                CAST(NULL AS VARCHAR) AS document_type,
                CAST(NULL AS VARCHAR) AS document_id,
                CAST(NULL AS DATE) AS run_date,
                CAST(NULL AS VARCHAR) AS content_hash,
                CAST(NULL AS VARCHAR) AS label,
                CAST(NULL AS VARCHAR) AS resolved_by,
                CAST(NULL AS VARCHAR) AS resolver,
                CAST(NULL AS VARCHAR) AS reason,
                CAST(NULL AS TIMESTAMPTZ) AS resolved_at,
                CAST(NULL AS DATE) AS resolved_date
            WHERE false
        )
    {%- endif -%}
{% endmacro %}
