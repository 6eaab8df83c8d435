"""Measurements and models for developers of the crawler; not part of the installed package.

Run from the root of the source tree, for example `python -m benchmarks.guard main`:

    speed       guard (CPU of a crawl beside a revision), parse_cost (of reading a page),
                thread_cost (by thread), sink_cost (by output), latency (use of a distant site)
    downloads   download_benchmark (beside aria2c, wget2, curl), download_fixtures, latency_proxy
    scale       scale, with host_memory, site_sizes, fluid_model, queueing_model and
                virtual_schedule; endurance (a million pages)
    workers     worker_scaling, with worker_trials, worker_steps, divided_hosts, link_handover and
                queue_memory
    documents   quoted_figures (figures in prose), autothrottle_model (docs/guide/pace.svg)
    code        url_walk (calls and files of one URL), code_table (size and quality figures)
    native_build  compiles the extension of a source tree, for comparisons and for tests
"""
